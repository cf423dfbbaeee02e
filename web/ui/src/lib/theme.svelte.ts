// Light, dark, or as the machine has it.

const order = ['auto', 'light', 'dark'] as const
export const theme = $state<{ is: (typeof order)[number] }>({ is: (localStorage.getItem('theme') as 'auto') || 'auto' })

function wear() {
  if (theme.is === 'auto') document.documentElement.removeAttribute('data-theme')
  else document.documentElement.setAttribute('data-theme', theme.is)
}
wear()

export function nextTheme() {
  theme.is = order[(order.indexOf(theme.is) + 1) % order.length]!
  localStorage.setItem('theme', theme.is)
  wear()
}
