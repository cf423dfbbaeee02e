// What people do to the pool. Each says first what it will do.
import { call } from './api'
import { confirm } from './confirm.svelte'
import { phrase } from './amounts'
import { plural, seconds, span } from './words.svelte'
import type { Ask, Node, Task, Token } from './types'

export function kill(t: Task) {
  confirm({
    title: `Kill ${t.id}?`,
    effect: [
      `It is told to stop, and killed when its time to stop is over. It holds ${phrase(t.resources) || 'nothing'} for ${t.role}${t.node ? ` on ${t.node}` : ''}.`,
      'Its ask does not start it again.',
    ],
    verb: 'Kill it',
    danger: true,
    act: async () => {
      await call('TaskService/Kill', { ids: [t.id] })
      return `${t.id} is being stopped.`
    },
  })
}

export function cancel(a: Ask) {
  confirm({
    title: `Cancel ${a.id}?`,
    effect: [`${plural(a.pending ?? 0, 'waiting task')} of ${a.spec.role} will not start.`, a.running ? `${plural(a.running, 'running task')} will be stopped.` : 'Nothing of it runs.'],
    verb: 'Cancel the ask',
    danger: true,
    act: async () => {
      const r = await call<{ withdrawn?: number; stopping?: number }>('AskService/Cancel', { ids: [a.id] })
      return `${plural(r.withdrawn ?? 0, 'task')} withdrawn, ${r.stopping ?? 0} stopping.`
    },
  })
}

export function cordon(n: Node) {
  const on = n.state === 'ready'
  confirm({
    title: on ? `Cordon ${n.name}?` : `Uncordon ${n.name}?`,
    effect: on
      ? [`No new task starts on it. Its ${plural(n.tasks ?? 0, 'task')} go on.`, `${phrase(n.available) || 'Nothing'} free on it is out of use until somebody uncordons it.`]
      : ['Tasks may start on it again.'],
    verb: on ? 'Cordon it' : 'Uncordon it',
    act: async () => {
      await call('NodeService/Cordon', { name: n.name, cordoned: on })
      return on ? `${n.name} is cordoned.` : `${n.name} takes tasks again.`
    },
  })
}

export function drain(n: Node, roles: string[], deadline: string) {
  confirm({
    title: `Drain ${n.name}?`,
    effect: [
      `It is cordoned, and each of its ${plural(n.tasks ?? 0, 'task')}${roles.length ? ` (of ${roles.slice(0, 4).join(', ')}${roles.length > 4 ? ' and others' : ''})` : ''} gets notice to leave within ${span(seconds(deadline))}, or its own notice where that is longer.`,
      'What may start again waits for another node.',
    ],
    verb: 'Drain it',
    danger: true,
    act: async () => {
      await call('NodeService/Drain', { name: n.name, deadline })
      return `${n.name} is draining.`
    },
  })
}

export function remove(n: Node) {
  confirm({
    title: `Forget ${n.name}?`,
    effect: [`It does not answer. Its ${plural(n.tasks ?? 0, 'task')} count as lost from now on, and wait again where they may.`, 'If the machine is only cut off, its tasks may run twice.'],
    verb: 'Forget it',
    danger: true,
    act: async () => {
      await call('NodeService/Remove', { name: n.name })
      return `${n.name} is forgotten.`
    },
  })
}

export function revoke(t: Token, done: () => void) {
  confirm({
    title: `Revoke the token ${t.id}?`,
    effect: [`Whoever uses it as ${t.name || 'a joining node'} is refused from the next request on; open streams end within seconds.`, 'It cannot be undone.'],
    verb: 'Revoke it',
    danger: true,
    act: async () => {
      await call('AccessService/RevokeToken', { id: t.id })
      done()
      return 'It is revoked.'
    },
  })
}
