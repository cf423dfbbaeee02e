// Amounts as numbers: whole cpus, bytes of memory. Enough to draw and to add up; the server's texts are the truth.
import type { Amounts } from './types'

const suffixes: Record<string, number> = {
  Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, m: 1e-3,
}

const read = new Map<string, number>() // texts repeat a great deal

export function parse(text: string | undefined): number {
  if (!text) return 0
  let n = read.get(text)
  if (n === undefined) {
    if (read.size > 50_000) read.clear()
    read.set(text, (n = parseAnew(text)))
  }
  return n
}

function parseAnew(text: string): number {
  if (text === 'unlimited') return Infinity
  const m = /^(-?[0-9.]+)([A-Za-z]*)$/.exec(text)
  return m ? Number(m[1]) * (suffixes[m[2]!] ?? 1) : 0
}

export const of = (amounts: Amounts | undefined, resource: string): number => parse(amounts?.[resource])

export const isBytes = (resource: string) => /(^|\/)(memory|disk)$/.test(resource)

/** An amount for people, with at most three digits that count. */
export function show(resource: string, n: number): string {
  if (n === Infinity) return 'no limit'
  if (!isBytes(resource)) return short(n)
  for (const unit of ['Pi', 'Ti', 'Gi', 'Mi', 'Ki']) {
    if (Math.abs(n) >= suffixes[unit]!) return short(n / suffixes[unit]!) + unit
  }
  return short(n)
}

function short(n: number): string {
  const digits = Math.abs(n) >= 100 ? 0 : Math.abs(n) >= 10 ? 1 : 2
  const text = Math.abs(n) >= 1000 ? Math.round(n).toLocaleString('en') : n.toFixed(digits)
  if (n > 0 && n < 0.005) return '< 0.01'
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}

/** "2 cpu, 4Gi memory". */
export function phrase(amounts: Amounts | undefined): string {
  return resourcesIn(amounts).map((r) => `${amounts![r]} ${r}`).join(', ')
}

export function percent(part: number, whole: number): string {
  if (!(whole > 0)) return '–'
  const n = Math.round((100 * part) / whole)
  return n === 0 && part > 0 ? '< 1 %' : `${n} %`
}

/** Parts of a whole and their sum, in tenths of a percent; what the rounding leaves over goes where most was cut off, so that they add up. */
export function tenths(parts: number[], whole: number): { parts: string[]; sum: string } {
  if (!(whole > 0)) return { parts: parts.map(() => '–'), sum: '–' }
  const exact = parts.map((p) => (1000 * p) / whole)
  const out = exact.map(Math.floor)
  const sum = Math.round(exact.reduce((a, b) => a + b, 0))
  const cut = exact.map((e, i) => [e - out[i]!, i] as const).sort((a, b) => b[0] - a[0])
  const over = sum - out.reduce((a, b) => a + b, 0)
  for (const [, i] of cut.slice(0, over)) out[i]!++
  const text = (n: number) => `${(n / 10).toFixed(1)} %`
  return { parts: out.map((n, i) => (n === 0 && exact[i]! > 0 ? '< 0.1 %' : text(n))), sum: text(sum) }
}

const order = ['cpu', 'memory', 'gpu', 'disk']

/** Names of resources in the order people expect: cpu, memory, gpu, disk, the rest; a pool's own after the others. */
export function resourcesIn(...all: (Amounts | undefined)[]): string[] {
  const names = new Set(all.flatMap((a) => Object.keys(a ?? {})))
  const rank = (r: string) => {
    const [kind, pool] = r.split('/').reverse()
    const at = order.indexOf(kind!)
    return (pool ? 100 : 0) + (at < 0 ? order.length : at)
  }
  return [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b))
}
