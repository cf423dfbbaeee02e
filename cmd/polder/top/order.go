package top

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// units by suffix. A cell of a time column means the second table.
var (
	amountUnits = map[string]float64{
		"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "%": 1,
	}
	timeUnits = map[string]float64{"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
)

// number reads a cell such as "12", "500m", "4Gi", "1h30m", "in 20s"; false if it is none. What is past ("20s ago") is
// below zero.
func number(cell string, times bool) (float64, bool) {
	text := strings.TrimPrefix(cell, "in ")
	text, past := strings.CutSuffix(text, " ago")
	units := amountUnits
	if times {
		units = timeUnits
	}
	var sum float64
	for rest := text; rest != "" || text == ""; {
		digits := span(rest, "0123456789.")
		unit := span(rest[len(digits):], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ%")
		n, err := strconv.ParseFloat(digits, 64)
		scale, ok := units[unit]
		if err != nil || !ok {
			return 0, false
		}
		sum += n * scale
		rest = rest[len(digits)+len(unit):]
	}
	if past {
		sum = -sum
	}
	return sum, true
}

// span is the longest beginning of s that has only these bytes.
func span(s, of string) string {
	return s[:len(s)-len(strings.TrimLeft(s, of))]
}

// compare orders two cells: numbers before words, an empty cell last.
func compare(a, b string, times bool) int {
	x, okX := number(a, times)
	y, okY := number(b, times)
	switch {
	case okX && okY:
		return cmp.Compare(x, y)
	case okX != okY:
		if okX {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

// sorted returns rows ordered by a column, a copy. Cells without a value are last in both directions.
func sorted(rows []Row, column int, c Column, down bool) []Row {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b Row) int {
		x, y := cell(a, column), cell(b, column)
		if none(x) || none(y) {
			switch {
			case none(x) && none(y):
				return 0
			case none(x):
				return 1
			}
			return -1
		}
		if down {
			return compare(y, x, c.Time)
		}
		return compare(x, y, c.Time)
	})
	return rows
}

func none(cell string) bool { return cell == "" || cell == "-" || cell == " " }

// cell is a row's cell; a short row has empty ones.
func cell(r Row, i int) string {
	if i == 0 && r.Flat != "" {
		return r.Flat
	}
	if i < len(r.Cells) {
		return r.Cells[i]
	}
	return ""
}

// matches reports whether every word of the filter is somewhere in the row, small or capital.
func matches(r Row, filter string) bool {
	text := strings.ToLower(r.Flat + "\t" + strings.Join(r.Cells, "\t"))
	for _, word := range strings.Fields(strings.ToLower(filter)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}
