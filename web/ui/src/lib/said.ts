// The server's sentences, with the times in them as people here read them.

/** A piece of a sentence; at is set where it is an instant. */
export interface Piece {
  text: string
  at?: string
}

const instant = /\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))(?!\w)/

/** Cuts a sentence where it names an instant, and writes that as show does. */
export function pieces(sentence: string, show: (time: string) => string): Piece[] {
  return sentence
    .split(instant) // every second one is an instant
    .map((text, i) => (i % 2 && !isNaN(Date.parse(text)) ? { text: show(text), at: text } : { text }))
    .filter((p) => p.text)
}

/** The same as one text. */
export const said = (sentence: string, show: (time: string) => string): string => pieces(sentence, show).map((p) => p.text).join('')
