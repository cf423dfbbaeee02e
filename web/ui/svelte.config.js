// Class names that scope styles are short: there is one in every element, and the whole console is to be small.
const cssHash = ({ hash, filename }) => 's' + hash(filename).slice(0, 4)

export default { compilerOptions: { runes: true, cssHash } }
