// The pages, in the order of the menu.
import type { Component } from 'svelte'
import Overview from './pages/Overview.svelte'
import Roles from './pages/Roles.svelte'

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
]

export const pageOf = (path: string) => pages.find((p) => p.path === path)
