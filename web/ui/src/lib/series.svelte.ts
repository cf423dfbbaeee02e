// Figures of roles over time, from when the console was opened; what was before the server remembers. The upper roles are always
// sampled, the others once somebody has looked at them.
import { roles } from './feeds.svelte'
import { depthOf, share } from './ledger'
import { resourcesIn } from './amounts'
import type { RoleLine } from './types'

const every = 2000
const most = 1800 // samples, an hour
const mostRoles = 200

interface Series {
  /** Times, then own, borrowed, lent, guarantee, demand. */
  columns: number[][]
}

const kept = new Map<string, Series>()
const wanted = new Set<string>()
export const sampled = $state({ times: 0 })

export const watch = (path: string) => wanted.add(path)

export function series(path: string, resource: string): number[][] {
  void sampled.times
  return kept.get(path + ' ' + resource)?.columns ?? [[], [], [], [], [], []]
}

/** The console's own samples, and before them what the server remembers. */
export function after(past: RoleLine | undefined, own: number[][]): number[][] {
  const n = past?.times.findIndex((t) => t >= (own[0]![0] ?? Infinity)) ?? 0
  if (!past || n === 0) return own
  return [past.times, past.own, past.borrowed, past.lent, past.guarantee, past.demand].map((c, i) => [...(n < 0 ? c : c.slice(0, n)), ...own[i]!])
}

function sample() {
  if (roles.status !== 'live') return
  let n = 0
  for (const r of roles.items) {
    const path = r.effective.path
    if (!wanted.has(path) && (depthOf(path) > 0 || ++n > mostRoles)) continue
    for (const resource of resourcesIn(r.effective.guarantee, r.usage, r.demand)) {
      const s = share(r, resource)
      const key = path + ' ' + resource
      const old = kept.get(key)?.columns ?? [[], [], [], [], [], []]
      const now = [Date.now() / 1000, s.own, s.borrowed, s.lent, s.guarantee, s.demand]
      kept.set(key, { columns: old.map((c, i) => [...(c.length >= most ? c.slice(-most + 1) : c), now[i]!]) })
    }
  }
  sampled.times++
}

setInterval(sample, every)
