package store

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// AppendParts appends parts to a value, each after its length, so that what is large need not be quoted. [Parts] takes them apart.
func AppendParts(value []byte, parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += len(p) + binary.MaxVarintLen32
	}
	value = slices.Grow(value, size)
	for _, p := range parts {
		value = append(binary.AppendUvarint(value, uint64(len(p))), p...)
	}
	return value
}

// AppendPart appends a part that write appends. It is written where it stays but for the bytes of its length, which is known when it is there.
func AppendPart(value []byte, write func([]byte) []byte) []byte {
	from := len(value)
	value = write(value)
	var head [binary.MaxVarintLen64]byte
	return slices.Insert(value, from, binary.AppendUvarint(head[:0], uint64(len(value)-from))...)
}

// Parts takes apart what [AppendParts] made. The parts share data.
func Parts(data []byte) ([][]byte, error) {
	var parts [][]byte
	for len(data) > 0 {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return nil, fmt.Errorf("part %d is cut off", len(parts)+1)
		}
		end := n + int(size)
		parts, data = append(parts, data[n:end:end]), data[end:]
	}
	return parts, nil
}
