// A terminal's screen: what a VT100 does with what programs write, as far as shells, pagers, editors and top need it. Every
// character is one cell wide. What it does not know it ignores.

export interface Style {
  fg?: string
  bg?: string
  bold?: boolean
  under?: boolean
  swap?: boolean
}
interface Cell {
  c: string
  s: Style
}
export interface Run {
  text: string
  style: Style
  /** The cursor is here. */
  here?: boolean
}

const plain: Style = {}
const colours = ['#45505a', '#ff7b86', '#7fd88f', '#e5c07b', '#7db7ff', '#d79bf0', '#6fd6e0', '#d8dee4', '#7f8c98', '#ff9aa2', '#a5e8b0', '#f2d7a0', '#a8cfff', '#e6bdf7', '#9be6ee', '#ffffff']
const most = 1000 // lines above the screen

function palette(n: number): string {
  if (n < 16) return colours[n]!
  if (n >= 232) return `rgb(${Array(3).fill(8 + (n - 232) * 10).join()})`
  const level = (i: number) => (i ? 55 + i * 40 : 0)
  n -= 16
  return `rgb(${level(Math.floor(n / 36))},${level(Math.floor(n / 6) % 6)},${level(n % 6)})`
}

export class Screen {
  cols = 80
  rows = 24
  /** Keys of the cursor are sent in application mode. */
  appKeys = false
  bracketed = false
  private grid: Cell[][] = []
  private above: Run[][] = []
  private kept: { grid: Cell[][]; x: number; y: number } | undefined // the main screen, while the other is shown
  private x = 0
  private y = 0
  private saved = { x: 0, y: 0, s: plain }
  private top = 0
  private bottom = 23
  private style = plain
  private hidden = false
  private wrap = false // the last column is written, and the next character goes to the next line
  private pending = '' // of a sequence that is not complete

  constructor(private readonly reply: (text: string) => void) {
    this.grid = this.blank(this.rows)
  }

  private blankLine = (): Cell[] => Array.from({ length: this.cols }, () => ({ c: ' ', s: plain }))
  private blank = (n: number) => Array.from({ length: n }, this.blankLine)

  resize(cols: number, rows: number) {
    if (cols === this.cols && rows === this.rows) return
    this.cols = cols
    while (this.grid.length > rows) {
      if (this.y < this.grid.length - 1 && this.grid.at(-1)!.every((c) => c.c === ' ')) this.grid.pop()
      else {
        this.keep(this.grid.shift()!)
        this.y--
      }
    }
    const fit = (g: Cell[][]) => {
      for (const line of g) {
        line.length = Math.min(line.length, cols)
        while (line.length < cols) line.push({ c: ' ', s: plain })
      }
      while (g.length < rows) g.push(this.blankLine())
      g.length = rows
    }
    fit(this.grid)
    if (this.kept) fit(this.kept.grid)
    this.rows = rows
    this.top = 0
    this.bottom = rows - 1
    this.wrap = false
    this.at(this.x, this.y)
  }

  private keep(line: Cell[]) {
    if (this.kept) return
    this.above.push(runs(line, -1))
    if (this.above.length > most) this.above.shift()
  }

  private at(x: number, y: number) {
    this.x = Math.max(0, Math.min(x, this.cols - 1))
    this.y = Math.max(0, Math.min(y, this.rows - 1))
    this.wrap = false
  }

  /** Takes in what a program writes. */
  write(text: string) {
    text = this.pending + text
    this.pending = ''
    for (let i = 0; i < text.length; ) {
      const c = text[i]!
      if (c !== '\x1b') {
        const code = text.codePointAt(i)!
        if (code >= 32 && code !== 127) this.put(String.fromCodePoint(code))
        else this.control(c)
        i += code > 0xffff ? 2 : 1
        continue
      }
      const rest = text.slice(i, i + 4096)
      const m = /^\x1b(?:\[([<-?]?)([0-9;:]*)([ -/]*)([@-~])|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])/.exec(rest)
      if (!m) {
        if (rest.length < 4096 && /^\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)$/.test(rest)) {
          this.pending = rest
          return
        }
        i++
        continue
      }
      if (m[4]) this.csi(m[1]!, m[2]! ? m[2]!.split(/[;:]/).map(Number) : [], m[4]!)
      else if (m[0].length === 2) this.escape(m[0][1]!)
      i += m[0].length
    }
  }

  private put(c: string) {
    if (this.wrap) {
      this.x = 0
      this.down()
      this.wrap = false
    }
    this.grid[this.y]![this.x] = { c, s: this.style }
    if (this.x === this.cols - 1) this.wrap = true
    else this.x++
  }

  private control(c: string) {
    if (c === '\n' || c === '\v' || c === '\f') this.down()
    else if (c === '\r') this.at(0, this.y)
    else if (c === '\b') this.at(this.x - 1, this.y)
    else if (c === '\t') this.at((this.x & ~7) + 8, this.y)
  }

  private down() {
    if (this.y === this.bottom) this.scroll(1)
    else this.at(this.x, this.y + 1)
  }

  /** Moves the lines between the margins up, or down when n is below zero. */
  private scroll(n: number, from = this.top) {
    for (let i = 0; i < Math.min(Math.abs(n), this.rows); i++) {
      const gone = this.grid.splice(n > 0 ? from : this.bottom, 1)[0]!
      if (n > 0 && from === 0) this.keep(gone)
      this.grid.splice(n > 0 ? this.bottom : from, 0, this.blankLine())
    }
  }

  private escape(c: string) {
    if (c === '7') this.saved = { x: this.x, y: this.y, s: this.style }
    else if (c === '8') this.restore()
    else if (c === 'D') this.down()
    else if (c === 'E') {
      this.x = 0
      this.down()
    } else if (c === 'M') {
      if (this.y === this.top) this.scroll(-1)
      else this.at(this.x, this.y - 1)
    } else if (c === 'c') {
      this.style = plain
      this.other(false)
      this.grid = this.blank(this.rows)
      this.at(0, 0)
    }
  }

  private restore() {
    this.at(this.saved.x, this.saved.y)
    this.style = this.saved.s
  }

  private csi(mark: string, p: number[], c: string) {
    const n = p[0] || 1
    const line = this.grid[this.y]!
    const blank = (from: number, to: number, l = line) => l.fill({ c: ' ', s: { bg: this.style.bg } }, from, to)
    if (mark === '?') {
      if (c === 'h' || c === 'l') p.forEach((m) => this.mode(m, c === 'h'))
      return
    }
    if (mark) return
    switch (c) {
      case 'A': return this.at(this.x, this.y - n)
      case 'B': case 'e': return this.at(this.x, this.y + n)
      case 'C': case 'a': return this.at(this.x + n, this.y)
      case 'D': return this.at(this.x - n, this.y)
      case 'E': return this.at(0, this.y + n)
      case 'F': return this.at(0, this.y - n)
      case 'G': case '`': return this.at(n - 1, this.y)
      case 'd': return this.at(this.x, n - 1)
      case 'H': case 'f': return this.at((p[1] || 1) - 1, n - 1)
      case 'J':
        if (p[0] === 3) this.above = []
        if (!p[0]) blank(this.x, this.cols)
        if (p[0] === 1) blank(0, this.x + 1)
        this.grid.forEach((l, y) => {
          if (p[0] === 2 || (!p[0] && y > this.y) || (p[0] === 1 && y < this.y)) blank(0, this.cols, l)
        })
        return
      case 'K': return void blank(p[0] ? 0 : this.x, p[0] === 1 ? this.x + 1 : this.cols)
      case 'X': return void blank(this.x, Math.min(this.cols, this.x + n))
      case 'P':
        line.splice(this.x, n)
        while (line.length < this.cols) line.push({ c: ' ', s: plain })
        return
      case '@':
        for (let i = 0; i < Math.min(n, this.cols); i++) line.splice(this.x, 0, { c: ' ', s: plain })
        line.length = this.cols
        return
      case 'L': return this.y >= this.top && this.y <= this.bottom ? this.scroll(-n, this.y) : undefined
      case 'M': return this.y >= this.top && this.y <= this.bottom ? this.lines(n) : undefined
      case 'S': return this.scroll(n)
      case 'T': return this.scroll(-n)
      case 'r':
        this.top = Math.min((p[0] || 1) - 1, this.rows - 1)
        this.bottom = Math.min((p[1] || this.rows) - 1, this.rows - 1)
        if (this.top >= this.bottom) [this.top, this.bottom] = [0, this.rows - 1]
        return this.at(0, 0)
      case 's': return void (this.saved = { x: this.x, y: this.y, s: this.style })
      case 'u': return this.restore()
      case 'm': return this.paint(p)
      case 'n': return this.reply(p[0] === 6 ? `\x1b[${this.y + 1};${this.x + 1}R` : '\x1b[0n')
      case 'c': return this.reply('\x1b[?6c')
    }
  }

  /** Takes lines out at the cursor; what is below moves up. */
  private lines(n: number) {
    for (let i = 0; i < Math.min(n, this.rows); i++) {
      this.grid.splice(this.y, 1)
      this.grid.splice(this.bottom, 0, this.blankLine())
    }
  }

  private mode(m: number, on: boolean) {
    if (m === 1) this.appKeys = on
    else if (m === 25) this.hidden = !on
    else if (m === 2004) this.bracketed = on
    else if (m === 47 || m === 1047 || m === 1049) this.other(on)
  }

  /** The other screen, for programs that fill it; what was there comes back after. */
  private other(on: boolean) {
    if (on && !this.kept) {
      this.kept = { grid: this.grid, x: this.x, y: this.y }
      this.grid = this.blank(this.rows)
    } else if (!on && this.kept) {
      this.grid = this.kept.grid
      this.at(this.kept.x, this.kept.y)
      this.kept = undefined
    }
    this.top = 0
    this.bottom = this.rows - 1
  }

  private paint(p: number[]) {
    const s = { ...this.style }
    for (let i = 0; i < Math.max(1, p.length); i++) {
      const n = p[i] ?? 0
      const wide = (): string | undefined => {
        if (p[i + 1] === 5) return palette(p[(i += 2)] ?? 0)
        if (p[i + 1] !== 2) return undefined
        i += 4
        return `rgb(${p.slice(i - 2, i + 1).map((v) => v & 255).join()})`
      }
      if (n === 0) Object.assign(s, { fg: undefined, bg: undefined, bold: false, under: false, swap: false })
      else if (n === 1) s.bold = true
      else if (n === 4) s.under = true
      else if (n === 7) s.swap = true
      else if (n === 22) s.bold = false
      else if (n === 24) s.under = false
      else if (n === 27) s.swap = false
      else if (n === 38) s.fg = wide()
      else if (n === 48) s.bg = wide()
      else if (n === 39) s.fg = undefined
      else if (n === 49) s.bg = undefined
      else if (n >= 30 && n < 38) s.fg = colours[n - 30]
      else if (n >= 40 && n < 48) s.bg = colours[n - 40]
      else if (n >= 90 && n < 98) s.fg = colours[n - 82]
      else if (n >= 100 && n < 108) s.bg = colours[n - 92]
    }
    this.style = s
  }

  /** All lines, those above the screen first, as runs of one style. A line above stays the same object. */
  draw(): Run[][] {
    return [...this.above, ...this.grid.map((line, y) => runs(line, !this.hidden && y === this.y ? this.x : -1))]
  }
}

function runs(line: Cell[], cursor: number): Run[] {
  const out: Run[] = []
  line.forEach((cell, x) => {
    const last = out.at(-1)
    if (last && last.style === cell.s && x !== cursor && !last.here) last.text += cell.c
    else out.push({ text: cell.c, style: cell.s, here: x === cursor })
  })
  const last = out.at(-1)
  if (last && !last.here && !last.style.bg && !last.style.swap) last.text = last.text.trimEnd()
  return out
}
