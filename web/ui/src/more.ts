// The pages that are fetched together when the first of them is opened: packed in one file they are smaller than in five.
export { default as Access } from './pages/Access.svelte'
export { default as Doors } from './pages/Doors.svelte'
export { default as Events } from './pages/Events.svelte'
export { default as Frameworks } from './pages/Frameworks.svelte'
export { default as Plan } from './pages/Plan.svelte'
export { default as RoleHistory } from './parts/RoleHistory.svelte'
