// One question at a time before something is done.

export interface Question {
  title: string
  /** What will happen, in sentences. */
  effect: string[]
  /** The word on the button that does it. */
  verb: string
  danger?: boolean
  /** Does it; what it says when done is shown. */
  act: () => Promise<string>
}

export const confirming = $state<{ ask: Question | undefined }>({ ask: undefined })

export function confirm(q: Question) {
  confirming.ask = q
}
