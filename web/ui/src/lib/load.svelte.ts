// Something a page reads, and reads again when it may be different.
import { Refused } from './api'
import type { PoolEvent } from './types'
import { events } from './feeds.svelte'

export class Load<T> {
  is = $state.raw<T>()
  trouble = $state('')
  missing = $state(false)
  private running = false
  private wanted = false

  constructor(private readonly read: () => Promise<T>) {}

  /** Reads now, or once more when reading already. */
  async again(): Promise<void> {
    if (this.running) {
      this.wanted = true
      return
    }
    this.running = true
    do {
      this.wanted = false
      try {
        this.is = await this.read()
        this.trouble = ''
        this.missing = false
      } catch (e) {
        this.trouble = e instanceof Error ? e.message : String(e)
        this.missing = e instanceof Refused && e.code === 'not_found'
      }
    } while (this.wanted)
    this.running = false
  }

  /** Reads now and again and again while somebody looks: $effect(() => load.every(2)). */
  every(seconds: number): () => void {
    void this.again()
    const timer = setInterval(() => document.hidden || void this.again(), seconds * 1000)
    return () => clearInterval(timer)
  }

  /** Reads now and, at most once a second, after events that matter: $effect(() => load.follow(...)). */
  follow(matters: (e: PoolEvent) => boolean): () => void {
    void this.again()
    let timer: ReturnType<typeof setTimeout> | undefined
    const done = events.hear((e) => {
      if (matters(e)) timer ??= setTimeout(() => void ((timer = undefined), this.again()), 1000)
    })
    return () => {
      clearTimeout(timer)
      done()
    }
  }
}
