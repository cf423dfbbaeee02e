// The pages, in the order of the menu.
import type { Component } from 'svelte'
import Lending from './pages/Lending.svelte'
import Nodes from './pages/Nodes.svelte'
import Overview from './pages/Overview.svelte'
import Queue from './pages/Queue.svelte'
import Roles from './pages/Roles.svelte'
import Tasks from './pages/Tasks.svelte'

export interface Page {
  path: string
  name: string
  /** Pressed after g. */
  key: string
  /** What is looked at all day is there at once; the rest comes when it is opened. */
  show?: Component
  load?: () => Promise<{ default: Component }>
}

export const pages: Page[] = [
  { path: '', name: 'Overview', key: 'o', show: Overview },
  { path: 'roles', name: 'Roles', key: 'r', show: Roles },
  { path: 'plan', name: 'Plan', key: 'p', load: async () => ({ default: (await import('./more')).Plan }) },
  { path: 'lending', name: 'Lending', key: 'l', show: Lending },
  { path: 'nodes', name: 'Nodes', key: 'n', show: Nodes },
  { path: 'tasks', name: 'Tasks', key: 't', show: Tasks },
  { path: 'queue', name: 'Queue', key: 'q', show: Queue },
  { path: 'frameworks', name: 'Frameworks', key: 'f', load: async () => ({ default: (await import('./more')).Frameworks }) },
  { path: 'events', name: 'Events & audit', key: 'e', load: async () => ({ default: (await import('./more')).Events }) },
  { path: 'access', name: 'Access', key: 'a', load: async () => ({ default: (await import('./more')).Access }) },
  { path: 'doors', name: 'Doors', key: 'd', load: async () => ({ default: (await import('./more')).Doors }) },
]

export const pageOf = (path: string) => pages.find((p) => p.path === path)
