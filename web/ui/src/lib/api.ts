// The native API, as the server's console passes it on.

/** What the server said no with; its message is for people. */
export class Refused extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message)
  }
}

/** Who wants to know that the session is over. */
export const session = { ended: () => {} }

async function answer(res: Response): Promise<any> {
  if (res.ok) return res.status === 204 ? undefined : res.json()
  const body = await res.json().catch(() => ({}))
  const refused = new Refused(body.code ?? 'unknown', body.message ?? `the server answered ${res.status}`)
  if (refused.code === 'unauthenticated') session.ended()
  throw refused
}

async function send(method: string, path: string, body?: unknown): Promise<any> {
  let res: Response
  try {
    res = await fetch(path, {
      method,
      headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
  } catch {
    throw new Refused('unavailable', 'The server does not answer.')
  }
  return answer(res)
}

/** Calls a procedure, such as call('RoleService/Get', {path}). */
export function call<T>(procedure: string, message: object = {}): Promise<T> {
  return send('POST', `/console/api/polder.v1.${procedure}`, message)
}

/** Follows a list to its end, or to about so many items. Of a long one the first page is handed out before the rest is there. */
export async function list<T>(procedure: string, field: string, message: object = {}, most = Infinity, begins?: (items: T[]) => void): Promise<{ items: T[]; revision: string; more: boolean }> {
  const items: T[] = []
  let pageToken = ''
  let revision = ''
  do {
    const page: any = await call(procedure, { ...message, pageSize: 1000, pageToken })
    items.push(...(page[field] ?? []))
    revision ||= page.revision ?? ''
    pageToken = page.nextPageToken ?? ''
    if (pageToken && items.length <= 1000) begins?.([...items])
  } while (pageToken && items.length < most)
  return { items, revision, more: pageToken !== '' }
}

export const login = (with_: { token: string } | { ticket: string }) => send('POST', '/console/session', with_)
export const logout = () => send('DELETE', '/console/session')
