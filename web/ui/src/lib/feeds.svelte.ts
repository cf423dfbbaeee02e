// What the server tells as it happens. A feed reads a list once, then follows the changes after it; several pages may use one.
import { list, Refused } from './api'
import { serverTime } from './words.svelte'
import type { Node, Notice, PoolEvent, Role } from './types'

export type Status = 'loading' | 'live' | 'lost' | 'denied' | 'failed'

/** What the server's refusals and the network do to a page. */
export interface Source {
  status: Status
  trouble: string
}

abstract class Feed<T> implements Source {
  status = $state<Status>('loading')
  trouble = $state('')
  items = $state.raw<T[]>([])
  protected byKey = new Map<string, T>()
  private users = 0
  private refusals = 0 // in a row
  private stream: EventSource | undefined
  private again: ReturnType<typeof setTimeout> | undefined
  private flushing = false
  private resorted = false

  protected abstract readonly topic: string
  protected abstract key(item: T): string
  /** Reads everything and returns the revision to go on after; the beginning of much is handed out before. */
  protected abstract load(begins: (items: T[]) => void): Promise<{ items: T[]; revision: string }>
  /** Takes one message in, through put and drop. */
  protected abstract take(data: any): void

  /** Follows while the page that calls it is there: $effect(() => feed.use()). */
  use(): () => void {
    if (this.users++ === 0) void this.start()
    return () => {
      if (--this.users === 0) this.stop()
    }
  }

  private async start() {
    this.stop()
    try {
      const fill = (items: T[]) => {
        this.byKey = new Map(items.map((i) => [this.key(i), i]))
        this.resorted = true
        this.flush()
      }
      const { items, revision } = await this.load((some) => {
        if (this.users && !this.items.length) fill(some) // who has read it before sees all of that until all of it is read again
      })
      if (!this.users) return
      fill(items)
      this.follow(revision)
    } catch (e) {
      this.refused(e)
    }
  }

  private stop() {
    this.stream?.close()
    this.stream = undefined
    clearTimeout(this.again)
  }

  private refused(e: unknown) {
    const code = e instanceof Refused ? e.code : 'unavailable'
    this.trouble = e instanceof Error ? e.message : String(e)
    if (code === 'permission_denied') {
      this.status = 'denied'
      return
    }
    if (code !== 'unavailable' || this.refusals > 0) this.status = 'lost' // a browser breaks off what it loads when its networks change
    this.again = setTimeout(() => this.start(), this.refusals++ ? 2000 : 200)
  }

  private follow(revision: string) {
    const s = new EventSource(`/console/live/${this.topic}?from=${revision}`)
    this.stream = s
    s.addEventListener('open', (e) => {
      this.refusals = 0
      this.status = 'live'
      this.trouble = ''
      if (e instanceof MessageEvent) serverTime(JSON.parse(e.data).now)
    })
    s.onmessage = (e) => {
      this.take(JSON.parse(e.data))
      this.flushSoon()
    }
    s.addEventListener('resync', () => void this.start())
    s.addEventListener('login', () => this.close('lost', '', true))
    s.addEventListener('denied', (e) => this.close('denied', JSON.parse((e as MessageEvent).data).message))
    s.onerror = () => {
      this.status = 'lost'
      this.trouble = 'The server does not answer.'
      if (s.readyState === EventSource.CLOSED) this.again = setTimeout(() => this.start(), 2000)
    }
  }

  private close(status: Status, trouble: string, check = false) {
    this.stop()
    this.status = status
    this.trouble = trouble
    if (check) this.load(() => {}).catch((e) => this.refused(e)) // says that the session has ended
  }

  protected put(item: T) {
    const key = this.key(item)
    if (!this.byKey.has(key)) this.resorted = true
    this.byKey.set(key, item)
  }

  protected drop(key: string) {
    if (this.byKey.delete(key)) this.resorted = true
  }

  /** Draws what came since the last time at once: with the next frame, and of long lists four times a second, which nobody tells from more. */
  private flushSoon() {
    if (this.flushing) return
    this.flushing = true
    const flush = () => {
      this.flushing = false
      this.flush()
    }
    if (document.hidden) setTimeout(flush, 1000)
    else if (this.byKey.size > 500) setTimeout(() => requestAnimationFrame(flush), 250)
    else requestAnimationFrame(flush)
  }

  private flush() {
    if (this.resorted) this.sort()
    this.resorted = false
    this.items = [...this.byKey.values()]
  }

  /** Brings what came later to its place; rows stay where they are otherwise. */
  protected sort() {
    this.byKey = new Map([...this.byKey].sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  get(key: string): T | undefined {
    void this.items
    return this.byKey.get(key)
  }
}

class Roles extends Feed<Role> {
  protected readonly topic = 'roles'
  protected key = (r: Role) => r.effective.path
  protected load = () => list<Role>('RoleService/List', 'roles')
  protected take(data: { roles: Role[]; gone: string[] }) {
    data.roles.forEach((r) => this.put(r))
    data.gone.forEach((path) => this.drop(path))
  }
  /** Parents before what is below them, as people read trees. */
  protected override sort() {
    const parts = (p: string) => p.split('/')
    const compare = (a: string[], b: string[]): number => {
      for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i]! < b[i]! ? -1 : 1
      return a.length - b.length
    }
    this.byKey = new Map([...this.byKey].map((e) => [parts(e[0]), e] as const).sort(([a], [b]) => compare(a, b)).map(([, e]) => e))
  }
}

class Nodes extends Feed<Node> {
  protected readonly topic = 'nodes'
  protected key = (n: Node) => n.name
  protected load = (begins: (items: Node[]) => void) => list<Node>('NodeService/List', 'nodes', {}, Infinity, begins)
  protected take(data: { nodes?: Node[]; removed?: string[] }) {
    data.nodes?.forEach((n) => this.put(n))
    data.removed?.forEach((name) => this.drop(name))
  }
  protected override sort() {
    const names = new Intl.Collator('en', { numeric: true })
    this.byKey = new Map([...this.byKey].sort(([a], [b]) => names.compare(a, b)))
  }
}

const keptNotices = 2000

class Notices extends Feed<Notice> {
  protected readonly topic = 'notices'
  protected key = (n: Notice) => n.id
  protected load = () => list<Notice>('NoticeService/List', 'notices', { all: true }, keptNotices)
  protected take(n: Notice) {
    this.put(n)
  }
  /** The newest first; of too many the oldest are forgotten. */
  protected override sort() {
    const newest = [...this.byKey].sort(([, a], [, b]) => Date.parse(b.issued ?? '') - Date.parse(a.issued ?? '') || (a.id < b.id ? -1 : 1))
    this.byKey = new Map(newest.slice(0, keptNotices))
  }
}

const keptEvents = 1000

class Events extends Feed<PoolEvent> {
  protected readonly topic = 'events'
  protected key = (e: PoolEvent) => e.revision
  protected load() {
    return list<PoolEvent>('EventService/List', 'events', { newest: keptEvents })
  }
  protected take(e: PoolEvent) {
    this.put(e)
    this.heard.forEach((f) => f(e))
  }
  protected override sort() {
    const newest = [...this.byKey].sort(([a], [b]) => Number(b) - Number(a))
    this.byKey = new Map(newest.slice(0, keptEvents))
  }
  private heard = new Set<(e: PoolEvent) => void>()
  /** Calls f for every new event, while the page is there. */
  hear(f: (e: PoolEvent) => void): () => void {
    const done = this.use()
    this.heard.add(f)
    return () => {
      this.heard.delete(f)
      done()
    }
  }
}

export const roles = new Roles()
export const nodes = new Nodes()
export const notices = new Notices()
export const events = new Events()
