// Time in words, and the states' names.

/** The server's time: this machine's, corrected by how far they are apart. It moves once a second. */
export const clock = $state({ now: Date.now() })

let skew = 0

/** Learns the server's time from a message that has just come. */
export function serverTime(text: string) {
  const n = Date.parse(text)
  if (n) skew = n - Date.now()
}

setInterval(() => (clock.now = Date.now() + skew), 1000)

/** Seconds of "1.5s". */
export const seconds = (duration: string | undefined): number => (duration ? parseFloat(duration) || 0 : 0)

/** A span in at most two units: "2m 5s". */
export function span(s: number): string {
  s = Math.max(0, Math.round(s))
  const units: [string, number][] = [['d', 86400], ['h', 3600], ['m', 60], ['s', 1]]
  const at = units.findIndex(([, size]) => s >= size)
  if (at < 0) return '0s'
  const [unit, size] = units[at]!
  const rest = units[at + 1]
  const more = rest ? Math.floor((s % size) / rest[1]) : 0
  return Math.floor(s / size) + unit + (more ? ` ${more}${rest![0]}` : '')
}

/** A span in words, as of an average: "12 minutes". */
export const roughly = (s: number): string => (s < 90 ? plural(Math.round(s), 'second') : plural(Math.round(s / 60), 'minute'))

export const ago = (time: string | undefined): string => (time ? span((clock.now - Date.parse(time)) / 1000) : '–')

function on(time: string, timeStyle: 'short' | 'medium'): string {
  const d = new Date(time)
  const today = d.toDateString() === new Date(clock.now).toDateString()
  return today ? d.toLocaleTimeString('en-GB') : d.toLocaleString('en-GB', { dateStyle: 'medium', timeStyle })
}

export const at = (time: string | undefined): string => (time ? on(time, 'short') : '–')

/** An instant to the second, with its day where that is not today. */
export const to = (time: string): string => on(time, 'medium')

export const stateOf = (task: { state: string }): string => task.state.replace('TASK_STATE_', '').toLowerCase()

/** Through which door a task came, from what doors leave on their tasks. */
export function doorOf(t: { runtime?: string; container?: string; labels?: Record<string, string> }): string {
  if (t.labels?.['mesos/framework']) return 'mesos'
  if (t.runtime === 'kube') return 'kubernetes'
  return t.container ? 'docker' : 'native'
}

export const ended = (state: string): boolean => ['succeeded', 'failed', 'killed', 'reclaimed', 'lost'].includes(state)

export const plural = (n: number, one: string, many = one + 's'): string => `${n.toLocaleString('en')} ${n === 1 ? one : many}`
