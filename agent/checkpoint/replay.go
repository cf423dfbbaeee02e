package checkpoint

import (
	"fmt"
	"maps"
	"slices"
)

// Damage is a stretch of the journal that could not be read.
type Damage struct {
	File   string // as found; the copy that was kept has this name plus ".damaged-" and a number
	Offset int64  // first unreadable byte
	Length int64
}

// String names the place and what it means.
func (d Damage) String() string {
	return fmt.Sprintf("journal %s: %d bytes at offset %d are damaged and were skipped; the records around them were kept",
		d.File, d.Length, d.Offset)
}

// replayed is what a journal file says.
type replayed struct {
	state   map[string][]byte
	damage  []Damage
	torn    int64 // bytes of an unfinished record at the end
	records int
}

// replay reads a whole file. It fails only on a format version it does not know.
func replay(name string, file []byte) (replayed, error) {
	r := replayed{state: map[string][]byte{}}
	for offset := int64(0); offset < int64(len(file)); {
		content, cut, ok := recordAt(file, offset)
		if ok {
			if err := r.apply(name, offset, content); err != nil {
				return r, err
			}
			offset += frameSize + int64(len(content))
			continue
		}
		next := nextRecord(file, offset+1)
		if next == int64(len(file)) && cut {
			r.torn = next - offset
			break
		}
		r.damage = append(r.damage, Damage{name, offset, next - offset})
		offset = next
	}
	return r, nil
}

func (r *replayed) apply(name string, offset int64, content []byte) error {
	if content[0] == kindHeader {
		if len(content) != 2 || content[1] != version {
			return fmt.Errorf("journal %s has format %d, this agent reads %d; run the agent version that wrote it", name, content[1:], version)
		}
		return nil
	}
	b, err := decodeBatch(content)
	if err != nil {
		r.damage = append(r.damage, Damage{name, offset, frameSize + int64(len(content))})
		return nil
	}
	r.records++
	for _, o := range b.ops {
		set(r.state, o)
	}
	return nil
}

// nextRecord finds the first whole record at or after offset, or the end of the file.
func nextRecord(file []byte, offset int64) int64 {
	for ; offset < int64(len(file)); offset++ {
		if _, _, ok := recordAt(file, offset); ok {
			return offset
		}
	}
	return int64(len(file))
}

func set(state map[string][]byte, o op) {
	if o.value == nil {
		delete(state, o.key)
		return
	}
	state[o.key] = o.value
}

// snapshot encodes state as a fresh file: the header, then one record a key, sorted.
func snapshot(state map[string][]byte) []byte {
	out := appendRecord(nil, 0, []byte{kindHeader, version})
	for _, k := range slices.Sorted(maps.Keys(state)) {
		var b Batch
		b.Put(k, state[k])
		out = appendRecord(out, int64(len(out)), encodeBatch(b))
	}
	return out
}
