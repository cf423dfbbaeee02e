// The pages, in the order of the menu.
import type { Component } from 'svelte'
import Access from './pages/Access.svelte'
import Doors from './pages/Doors.svelte'
import Events from './pages/Events.svelte'
import Lending from './pages/Lending.svelte'
import Nodes from './pages/Nodes.svelte'
import Overview from './pages/Overview.svelte'
import Plan from './pages/Plan.svelte'
import Queue from './pages/Queue.svelte'
import Roles from './pages/Roles.svelte'
import Tasks from './pages/Tasks.svelte'

export interface Page {
  path: string
  name: string
  /** Pressed after g. */
  key: string
  show: Component
}

export const pages: Page[] = [
  { path: '', name: 'Overview', key: 'o', show: Overview },
  { path: 'roles', name: 'Roles', key: 'r', show: Roles },
  { path: 'plan', name: 'Plan', key: 'p', show: Plan },
  { path: 'lending', name: 'Lending', key: 'l', show: Lending },
  { path: 'nodes', name: 'Nodes', key: 'n', show: Nodes },
  { path: 'tasks', name: 'Tasks', key: 't', show: Tasks },
  { path: 'queue', name: 'Queue', key: 'q', show: Queue },
  { path: 'events', name: 'Events', key: 'e', show: Events },
  { path: 'access', name: 'Access', key: 'a', show: Access },
  { path: 'doors', name: 'Doors', key: 'd', show: Doors },
]

export const pageOf = (path: string) => pages.find((p) => p.path === path)
