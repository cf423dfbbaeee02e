// Figures of the role whose page is open, from when it was opened; what was before the server remembers.
import { roles } from './feeds.svelte'
import { share } from './ledger'
import { resourcesIn } from './amounts'
import type { RoleLine } from './types'

const every = 2000
const most = 1800 // samples, an hour

/** By resource: times, then own, borrowed, lent, guarantee, demand. */
export class Series {
  kept = $state.raw<Record<string, number[][]>>({})

  of(resource: string): number[][] {
    return this.kept[resource] ?? [[], [], [], [], [], []]
  }

  /** Samples a role anew while its page is there: $effect(() => series.watch(path)). */
  watch(path: string): () => void {
    this.kept = {}
    const timer = setInterval(() => this.sample(path), every)
    return () => clearInterval(timer)
  }

  private sample(path: string) {
    const r = roles.get(path)
    if (!r || roles.status !== 'live') return
    const kept: Record<string, number[][]> = {}
    for (const resource of resourcesIn(r.effective.guarantee, r.usage, r.demand)) {
      const s = share(r, resource)
      const now = [Date.now() / 1000, s.own, s.borrowed, s.lent, s.guarantee, s.demand]
      kept[resource] = this.of(resource).map((c, i) => [...c.slice(1 - most), now[i]!])
    }
    this.kept = kept
  }
}

/** The console's own samples, and before them what the server remembers. */
export function after(past: RoleLine | undefined, own: number[][]): number[][] {
  const n = past?.times.findIndex((t) => t >= (own[0]![0] ?? Infinity)) ?? 0
  if (!past || n === 0) return own
  return [past.times, past.own, past.borrowed, past.lent, past.guarantee, past.demand].map((c, i) => [...(n < 0 ? c : c.slice(0, n)), ...own[i]!])
}
