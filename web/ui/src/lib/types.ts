// The native API's messages as JSON, as far as the console reads them. A field that is zero is absent.

export type Amounts = Record<string, string>

export interface Effective {
  path: string
  guarantee?: Amounts
  limit?: Amounts
  lend?: Amounts
  borrow?: Amounts
  weight?: number
  priority?: number
  reclaimGrace?: string
  lendGrace?: string
  minRuntime?: string
  warm?: Amounts
  reclaimBound?: string
}

export interface Role {
  effective: Effective
  usage?: Amounts
  funded?: Amounts
  borrowed?: Amounts
  lent?: Amounts
  entitlement?: Amounts
  demand?: Amounts
  leaving?: Amounts
  running?: number
  pending?: number
}

export interface RoleLine {
  resource: string
  times: number[]
  own: number[]
  borrowed: number[]
  lent: number[]
  guarantee: number[]
  demand: number[]
}

export interface Node {
  name: string
  pool?: string
  state: string
  attributes?: Record<string, string>
  capacity?: Amounts
  used?: Amounts
  available?: Amounts
  earmarked?: Amounts
  tasks?: number
  runtimes?: string[]
  ports?: string
  registered?: string
  lastSeen?: string
  version?: string
  warnings?: string[]
}

export interface Reason {
  code?: string
  message?: string
  unblockedBy?: string
  expected?: string
}

export interface Notice {
  id: string
  task: string
  role?: string
  node?: string
  claimant?: string
  amount?: Amounts
  issued?: string
  deadline?: string
  state: string
  funding?: string
  kind?: string
  opens?: string
}

export interface Task {
  id: string
  ask?: string
  index?: number
  attempt?: number
  role?: string
  node?: string
  state: string
  resources?: Amounts
  funding?: string
  reclaimGrace?: string
  hold?: string
  notice?: Notice
  created?: string
  started?: string
  ended?: string
  exitCode?: number
  reason?: Reason
  ports?: Record<string, number>
  health?: string
  runtime?: string
  container?: string
  labels?: Record<string, string>
  priority?: number
  preemptible?: boolean
}

export interface TaskSpec {
  image?: string
  command?: string[]
  resources?: Amounts
  pool?: string
  constraints?: string[]
  priority?: number
  [other: string]: unknown
}

export interface Ask {
  id: string
  spec: { name?: string; role?: string; count?: number; gang?: boolean; task?: TaskSpec }
  submitted?: string
  submittedBy?: string
  pending?: number
  running?: number
  succeeded?: number
  failed?: number
  reason?: Reason
  state: string
}

export interface Lease {
  task: string
  role: string
  node: string
  resources?: Amounts
  funding?: string
  reclaimGrace?: string
  hold?: string
  since?: string
  leavesBy?: string
}

export interface PoolEvent {
  revision: string
  time: string
  kind: string
  subject?: string
  role?: string
  node?: string
  message?: string
}

export interface Problem {
  path?: string
  line?: number
  message: string
  fatal?: boolean
}

export interface PlanRevision {
  revision?: string
  applied?: string
  appliedBy?: string
  comment?: string
}

export interface Token {
  id: string
  kind: string
  name: string
  created?: string
  expires?: string
  revoked?: boolean
}

export interface Permission {
  subject: string
  verbs?: string[]
  role?: string
}

export interface AuditEntry {
  time: string
  who?: string
  verb?: string
  object?: string
  role?: string
  outcome: string
  reason?: string
  request?: string
  remote?: string
}

export interface Door {
  name: string
  address?: string
  since?: string
  requests?: string
  refused?: string
  rate?: number
  state?: string
  seen?: string
  off?: string
  refusals?: { call: string; status: string; count: string; last: string; message?: string }[]
}

export interface Framework {
  id: string
  door: string
  name?: string
  principal?: string
  connected?: boolean
  registered?: string
  awaySince?: string
  tasks?: number
  roles?: { role: string; suppressed?: boolean; held?: Amounts; offered?: Amounts; refusedNodes?: number; refusedUntil?: string }[]
}

export interface Offer {
  id: string
  framework: string
  role: string
  node: string
  resources?: Amounts
  revocable?: Amounts
  until?: string
}

export interface WhoAmI {
  kind: string
  name: string
  cluster?: string
  version?: string
}
