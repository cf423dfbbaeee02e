// What the figures of roles and nodes say together.
import { of } from './amounts'
import type { Node, Role } from './types'

/** One role and one resource, as numbers. */
export interface Share {
  guarantee: number
  limit: number
  used: number
  own: number
  borrowed: number
  lent: number
  leaving: number
  demand: number
  idle: number
}

export function share(r: Role, resource: string): Share {
  const guarantee = of(r.effective.guarantee, resource)
  const own = of(r.funded, resource)
  const lent = of(r.lent, resource)
  return {
    guarantee,
    limit: r.effective.limit?.[resource] === undefined ? Infinity : of(r.effective.limit, resource),
    used: of(r.usage, resource),
    own,
    borrowed: of(r.borrowed, resource),
    lent,
    leaving: of(r.leaving, resource),
    demand: of(r.demand, resource),
    idle: Math.max(0, guarantee - own - lent),
  }
}

export const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1)
export const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('/')))
export const depthOf = (path: string) => path.split('/').length - 1

/** Roles that nothing is below. Tasks run in them, so what they borrow is counted once. */
export function leaves(roles: Role[]): Role[] {
  const parents = new Set(roles.map((r) => parentOf(r.effective.path)))
  return roles.filter((r) => !parents.has(r.effective.path))
}

export const tops = (roles: Role[]): Role[] => {
  const known = new Set(roles.map((r) => r.effective.path))
  return roles.filter((r) => !known.has(parentOf(r.effective.path)))
}

/** Where the capacity of one resource is. The parts add up to the whole. */
export interface Ledger {
  capacity: number
  used: number
  own: number
  borrowed: number
  leaving: number
  kept: number
  off: number
  offBy: Record<string, number> // by the state of the node
  free: number
  guaranteed: number
  lent: number
  pending: number
}

export function ledger(roles: Role[], nodes: Node[], resource: string): Ledger {
  let capacity = 0
  let used = 0
  let kept = 0
  let off = 0
  const offBy: Record<string, number> = {}
  for (const n of nodes) {
    const whole = of(n.capacity, resource)
    const taken = of(n.used, resource)
    const held = n.state === 'ready' ? Math.min(of(n.earmarked, resource), whole - taken) : 0
    capacity += whole
    used += taken
    kept += held
    if (n.state === 'ready') continue
    off += whole - taken
    offBy[n.state] = (offBy[n.state] ?? 0) + whole - taken
  }
  let borrowed = 0
  let leaving = 0
  let lent = 0
  for (const r of leaves(roles)) {
    const s = share(r, resource)
    borrowed += s.borrowed
    leaving += Math.min(s.leaving, s.used)
  }
  for (const r of roles) lent += share(r, resource).lent // each role's line is the lending among it and its siblings: no part is in two
  let guaranteed = 0
  let pending = 0
  for (const r of tops(roles)) {
    const s = share(r, resource)
    guaranteed += s.guarantee
    pending += Math.max(0, s.demand - s.used)
  }
  borrowed = Math.min(borrowed, used)
  return {
    capacity, used, borrowed, leaving: Math.min(leaving, used), own: used - borrowed, kept, off, offBy,
    free: Math.max(0, capacity - used - kept - off), guaranteed, lent, pending,
  }
}
