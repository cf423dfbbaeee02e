// Addresses: /roles/corp/search is page "roles" of "corp/search". A click on a link within the console moves without loading.

function read() {
  const [page = '', ...rest] = location.pathname.slice(1).split('/')
  return { page, rest: rest.map(decode).join('/'), query: new URLSearchParams(location.search) }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

export const route = $state(read())

function update() {
  Object.assign(route, read())
}

/** The address of a page, and of one thing on it: link('roles', 'corp/search'). */
export function link(page: string, thing = '', query: Record<string, string | undefined> = {}): string {
  const path = '/' + [page, ...(thing ? thing.split('/').map(encodeURIComponent) : [])].join('/')
  const q = new URLSearchParams(Object.entries(query).filter((e): e is [string, string] => !!e[1])).toString()
  return q ? `${path}?${q}` : path
}

export function go(address: string, replace = false) {
  if (address === location.pathname + location.search) return
  history[replace ? 'replaceState' : 'pushState'](null, '', address)
  update()
  if (!replace) scrollTo(0, 0)
}

/** Changes one word of the query in place. */
export function setQuery(name: string, value: string) {
  const q = new URLSearchParams(location.search)
  if (value) q.set(name, value)
  else q.delete(name)
  const text = q.toString()
  go(location.pathname + (text ? '?' + text : ''), true)
}

addEventListener('popstate', update)

document.addEventListener('click', (e) => {
  const a = (e.target as Element).closest?.('a')
  if (!a || a.origin !== location.origin || a.target || e.defaultPrevented || e.button || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return
  e.preventDefault()
  go(a.pathname + a.search)
})
