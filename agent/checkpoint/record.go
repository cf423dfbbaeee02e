package checkpoint

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Batch is changes that become durable together. The zero Batch changes nothing.
type Batch struct{ ops []op }

// op sets key to value; a nil value deletes it.
type op struct {
	key   string
	value []byte
}

// Put sets key to a copy-free value: the caller does not change value afterwards.
func (b *Batch) Put(key string, value []byte) {
	if value == nil {
		value = []byte{}
	}
	b.ops = append(b.ops, op{key, value})
}

// Delete removes key; a key that is not there is fine.
func (b *Batch) Delete(key string) { b.ops = append(b.ops, op{key: key}) }

const (
	frameSize = 8       // length and checksum, 4 bytes each, little endian
	maxRecord = 8 << 20 // longer is refused when writing and is damage when reading
	version   = 1
)

// What a record's content starts with.
const (
	kindHeader = 'H' // the first record: format version
	kindBatch  = 'B'
)

const (
	opPut    = 1
	opDelete = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errMalformed is a record whose checksum is right and whose content is not: written by something else.
var errMalformed = errors.New("malformed record")

// appendRecord appends the frame and content of a record that will lie at offset in the file.
func appendRecord(dst []byte, offset int64, content []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(content)))
	dst = binary.LittleEndian.AppendUint32(dst, checksum(offset, content))
	return append(dst, content...)
}

func checksum(offset int64, content []byte) uint32 {
	var place [12]byte
	binary.LittleEndian.PutUint64(place[:], uint64(offset))
	binary.LittleEndian.PutUint32(place[8:], uint32(len(content)))
	return crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, content)
}

// recordAt returns the content of the record at offset and whether it is whole and right. cut says that the file ends
// before the record does.
func recordAt(file []byte, offset int64) (content []byte, cut, ok bool) {
	rest := file[offset:]
	if len(rest) < frameSize {
		return nil, true, false
	}
	n := int64(binary.LittleEndian.Uint32(rest))
	if n == 0 || n > maxRecord {
		return nil, false, false
	}
	if int64(len(rest)) < frameSize+n {
		return nil, true, false
	}
	content = rest[frameSize : frameSize+n]
	return content, false, checksum(offset, content) == binary.LittleEndian.Uint32(rest[4:])
}

func encodeBatch(b Batch) []byte {
	out := []byte{kindBatch}
	for _, o := range b.ops {
		if o.value == nil {
			out = appendBytes(append(out, opDelete), []byte(o.key))
			continue
		}
		out = appendBytes(append(out, opPut), []byte(o.key))
		out = appendBytes(out, o.value)
	}
	return out
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func decodeBatch(content []byte) (Batch, error) {
	var b Batch
	if len(content) == 0 || content[0] != kindBatch {
		return b, errMalformed
	}
	for rest := content[1:]; len(rest) > 0; {
		kind := rest[0]
		key, tail, ok := cutBytes(rest[1:])
		if !ok {
			return b, errMalformed
		}
		switch kind {
		case opDelete:
			b.Delete(string(key))
		case opPut:
			var value []byte
			if value, tail, ok = cutBytes(tail); !ok {
				return b, errMalformed
			}
			b.Put(string(key), value)
		default:
			return b, errMalformed
		}
		rest = tail
	}
	return b, nil
}

func cutBytes(b []byte) (head, tail []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	return b[size : size+int(n)], b[size+int(n):], true
}
