package mesos

import (
	"bytes"
	"context"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/door"
	"polder.dev/polder/door/mesos/wire/masterv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
)

// maxRead is the most that one read gives: sixteen pages, as in Mesos.
const maxRead = 64 << 10

// filesProblem is the answer to a sandbox that cannot be read; the statuses are Mesos'.
func filesProblem(err error) error {
	switch connect.CodeOf(err) {
	case connect.CodeNotFound:
		return answer(http.StatusNotFound, "%v\n", reasonOf(err))
	case connect.CodePermissionDenied:
		return answer(http.StatusForbidden, "%v\n", reasonOf(err))
	case connect.CodeInvalidArgument:
		return answer(http.StatusBadRequest, "%v\n", reasonOf(err))
	case connect.CodeUnavailable, connect.CodeFailedPrecondition: // the node does not answer
		return answer(http.StatusServiceUnavailable, "%v\n", reasonOf(err))
	}
	return answer(http.StatusInternalServerError, "%v\n", reasonOf(err))
}

// listFiles lists a directory of a sandbox for somebody.
func (d *Door) listFiles(ctx context.Context, who principal, name string) ([]*mesosv1.FileInfo, error) {
	p, err := d.placeOf(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(door.As(ctx, who.caller), remaining)
	defer cancel()
	res, err := d.c.API.Tasks.ListFiles(ctx, connect.NewRequest(&polderv1.ListFilesRequest{Task: p.native, Path: p.below}))
	if err != nil {
		return nil, filesProblem(err)
	}
	out := make([]*mesosv1.FileInfo, 0, len(res.Msg.Files))
	for _, f := range res.Msg.Files {
		out = append(out, &mesosv1.FileInfo{
			Path: new(p.name + "/" + f.Name), Nlink: new(int32(f.Links)), Size: new(f.Size), Mtime: &mesosv1.TimeInfo{Nanoseconds: new(f.Modified.AsTime().UnixNano())},
			Mode: new(f.Mode), Uid: new(strconv.Itoa(int(f.Uid))), Gid: new(strconv.Itoa(int(f.Gid))),
		})
	}
	return out, nil
}

// readFile reads a piece of a file and says how large the whole is. What a container wrote is not in its sandbox, and is shown as if it were.
func (d *Door) readFile(ctx context.Context, who principal, p place, offset uint64, length *uint64, out io.Writer) (size uint64, err error) {
	ctx = door.As(ctx, who.caller)
	stream, err := d.c.API.Tasks.ReadFile(ctx, connect.NewRequest(&polderv1.ReadFileRequest{Task: p.native, Path: p.below, Offset: offset, Length: length}))
	if err != nil {
		return 0, filesProblem(err)
	}
	defer stream.Close()
	for stream.Receive() {
		size = max(size, stream.Msg().Size)
		if w, ok := out.(sizedWriter); ok {
			w.sized(size)
		}
		if _, err := out.Write(stream.Msg().Data); err != nil {
			return size, err
		}
	}
	err = stream.Err()
	if connect.CodeOf(err) == connect.CodeNotFound && (p.below == "stdout" || p.below == "stderr") {
		return d.readLog(ctx, p, offset, length, out)
	}
	if err != nil {
		return size, filesProblem(err)
	}
	return size, nil
}

// sizedWriter wants to know how large a file is before its first byte.
type sizedWriter interface{ sized(uint64) }

// readLog reads a piece of what a task wrote, which its runtime keeps somewhere else.
func (d *Door) readLog(ctx context.Context, p place, offset uint64, length *uint64, out io.Writer) (size uint64, err error) {
	stream, err := d.c.API.Tasks.Logs(ctx, connect.NewRequest(&polderv1.LogsRequest{Task: p.native, Stream: p.below}))
	if err != nil {
		return 0, filesProblem(err)
	}
	defer stream.Close()
	for stream.Receive() {
		data := stream.Msg().Data
		begins := size
		size += uint64(len(data))
		data = data[min(uint64(len(data)), offset-min(offset, begins)):]
		if end := offset + deref(length, size); length != nil && size > end {
			data = data[:uint64(len(data))-min(uint64(len(data)), size-end)]
		}
		if _, err := out.Write(data); err != nil {
			return size, err
		}
	}
	if err := stream.Err(); err != nil {
		return size, filesProblem(err)
	}
	return size, nil
}

func deref(n *uint64, otherwise uint64) uint64 {
	if n == nil {
		return otherwise
	}
	return *n
}

func (d *Door) serveBrowse(who principal, w http.ResponseWriter, r *http.Request) error {
	files, err := d.listFiles(r.Context(), who, r.URL.Query().Get("path"))
	if err != nil {
		return err
	}
	out := []object{}
	for _, f := range files {
		out = append(out, object{
			"path": f.GetPath(), "nlink": f.GetNlink(), "size": f.GetSize(), "mtime": float64(f.GetMtime().GetNanoseconds() / 1e9),
			"mode": modeText(f.GetMode()), "uid": f.GetUid(), "gid": f.GetGid(),
		})
	}
	return writeDoc(w, r, out)
}

// modeText writes a mode the way "ls -l" does.
func modeText(mode uint32) string {
	kinds := map[uint32]byte{0o040000: 'd', 0o020000: 'c', 0o060000: 'b', 0o010000: 'p', 0o120000: 'l', 0o140000: 's'}
	out := []byte("-rwxrwxrwx")
	if k, ok := kinds[mode&0o170000]; ok {
		out[0] = k
	}
	for i := range 9 {
		if mode&(1<<(8-i)) == 0 {
			out[1+i] = '-'
		}
	}
	return string(out)
}

// serveRead gives a piece of a file. Pages ask with offset -1 first, to learn how large the file is.
func (d *Door) serveRead(who principal, w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := d.placeOf(q.Get("path"))
	if err != nil {
		return err
	}
	offset, err := position(q.Get("offset"), "offset")
	if err != nil {
		return err
	}
	length, err := position(q.Get("length"), "length")
	if err != nil {
		return err
	}
	if offset < 0 {
		length = 0
	}
	var data bytes.Buffer
	size, err := d.readFile(r.Context(), who, p, uint64(max(offset, 0)), new(capped(length)), &data)
	if err != nil {
		return err
	}
	if offset < 0 {
		offset = int64(size)
	}
	return writeDoc(w, r, object{"offset": offset, "data": data.String()})
}

// position reads a number of a query; -1 is none.
func position(text, name string) (int64, error) {
	if text == "" {
		return -1, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, answer(http.StatusBadRequest, "Failed to parse %s: %.40q is not a number.\n", name, text)
	}
	if n < -1 {
		return 0, answer(http.StatusBadRequest, "Negative %s provided: %d.\n", name, n)
	}
	return n, nil
}

// capped is how much one read gives of what was asked for; less than zero asks for all.
func capped(length int64) uint64 {
	if length < 0 {
		return maxRead
	}
	return uint64(min(length, maxRead))
}

// serveDownload gives a whole file.
func (d *Door) serveDownload(who principal, w http.ResponseWriter, r *http.Request) error {
	p, err := d.placeOf(r.URL.Query().Get("path"))
	if err != nil {
		return err
	}
	out := &download{w: w, name: path.Base(p.name)}
	if _, err = d.readFile(r.Context(), who, p, 0, nil, out); err != nil && out.begun {
		panic(http.ErrAbortHandler) // so that nobody takes what came for the whole
	}
	if err == nil {
		out.begin()
	}
	return err
}

// download is a file on its way to somebody. Its head is written before its first byte, when it is known that there is one.
type download struct {
	w     http.ResponseWriter
	name  string
	begun bool
}

func (d *download) begin() {
	if d.begun {
		return
	}
	d.begun = true
	h := d.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": d.name}))
	h.Set("X-Content-Type-Options", "nosniff")
	d.w.WriteHeader(http.StatusOK)
}

func (d *download) sized(uint64) { d.begin() }

// Write implements [io.Writer].
func (d *download) Write(p []byte) (int, error) {
	d.begin()
	return d.w.Write(p)
}

// reads look something up in the pool, in the name of who asks.
var reads = map[masterv1.Call_Type]func(*Door, context.Context, principal, *masterv1.Call) (proto.Message, error){
	masterv1.Call_LIST_FILES: func(d *Door, ctx context.Context, who principal, c *masterv1.Call) (proto.Message, error) {
		files, err := d.listFiles(ctx, who, c.GetListFiles().GetPath())
		return &masterv1.Response{Type: masterv1.Response_LIST_FILES.Enum(), ListFiles: &masterv1.Response_ListFiles{FileInfos: files}}, err
	},
	masterv1.Call_READ_FILE: func(d *Door, ctx context.Context, who principal, c *masterv1.Call) (proto.Message, error) {
		m := c.GetReadFile()
		if m == nil {
			return nil, badCall("master::Call", "Expecting 'read_file' to be present")
		}
		size, data, err := d.pieceOf(ctx, who, m.GetPath(), m.GetOffset(), m.Length)
		return &masterv1.Response{Type: masterv1.Response_READ_FILE.Enum(), ReadFile: &masterv1.Response_ReadFile{Size: &size, Data: data}}, err
	},
}

// pieceOf reads what a call asks for, as far as one answer goes.
func (d *Door) pieceOf(ctx context.Context, who principal, name string, offset uint64, length *uint64) (size uint64, data []byte, err error) {
	p, err := d.placeOf(name)
	if err != nil {
		return 0, nil, err
	}
	var out bytes.Buffer
	size, err = d.readFile(ctx, who, p, offset, new(min(deref(length, maxRead), maxRead)), &out)
	return size, append([]byte{}, out.Bytes()...), err
}
