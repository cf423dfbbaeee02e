package process

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"polder.dev/polder/agent/runtime"
)

// A frame goes from an agent to a console: a kind, the length of what follows in two bytes, and that. It is never longer
// than the kernel writes to a fifo in one piece, so that frames of several writers, and of one that is killed, stay whole.
const (
	frameInput  = 'i' // for the task
	frameClose  = 'c' // the input has ended
	frameResize = 'r' // rows and columns, two bytes each

	frameHeader = 3
	frameMost   = 4096 // PIPE_BUF
)

func frame(kind byte, body []byte) []byte {
	f := append(make([]byte, 0, frameHeader+len(body)), kind)
	return append(binary.BigEndian.AppendUint16(f, uint16(len(body))), body...)
}

func resizeFrame(s runtime.Size) []byte {
	return frame(frameResize, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, s.Rows), s.Cols))
}

func readFrame(r io.Reader) (kind byte, body []byte, err error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint16(head[1:])
	if n > frameMost-frameHeader {
		return 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}

// lastOutput is how long a terminal is read after its command has ended, while something else still holds it.
const lastOutput = 200 * time.Millisecond

// consoleMain is the process that holds the input of an interactive task while agents come and go: the end of a pipe, or the
// master of a terminal, whose output it also writes down. Its descriptors: 0 the fifo with the frames, 1 what it holds, 2 the
// file for output. It ends when the supervisor, whose pid it is given, tells it to, or is gone.
func consoleMain(supervisor string) {
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM)
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGTSTP, unix.SIGPIPE) // keys are for the command
	unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0)
	if strconv.Itoa(os.Getppid()) != supervisor { // it was gone before that
		os.Exit(0)
	}
	frames, held := polled(0, "frames"), polled(1, "held")
	copied := make(chan struct{})
	terminal := isMaster(held)
	if terminal {
		go func() {
			defer close(copied)
			transcribe(held, os.Stderr)
		}()
	} else {
		close(copied)
	}
	go serveFrames(bufio.NewReaderSize(frames, 1<<16), held, terminal)
	<-end
	held.SetReadDeadline(time.Now().Add(lastOutput))
	<-copied
	os.Exit(0)
}

// polled is a file of its own for an inherited descriptor, whose reads can be given a deadline.
func polled(inherited int, name string) *os.File {
	fd, err := unix.FcntlInt(uintptr(inherited), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "polder: the input of this task cannot be held:", err)
		os.Exit(exitSetup)
	}
	unix.Close(inherited)
	return os.NewFile(uintptr(fd), name)
}

func isMaster(f *os.File) bool {
	return control(f, func(fd int) error {
		_, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	}) == nil
}

// transcribe writes down what a terminal shows until nobody holds it any more. Output that finds no room is lost: the command
// must not wait for a disk.
func transcribe(master, output *os.File) {
	buf := make([]byte, 32<<10)
	for {
		n, err := master.Read(buf)
		output.Write(buf[:n])
		if err != nil {
			return
		}
	}
}

// serveFrames does what agents say. What a command does not read any more is dropped.
func serveFrames(frames io.Reader, held *os.File, terminal bool) {
	for {
		kind, body, err := readFrame(frames)
		switch {
		case err != nil:
			fmt.Fprintln(os.Stderr, "polder: the input of this task is lost:", err)
			return
		case kind == frameInput:
			held.Write(body)
		case kind == frameClose && !terminal:
			held.Close()
		case kind == frameResize && terminal && len(body) == 4:
			setSize(held, runtime.Size{Rows: binary.BigEndian.Uint16(body), Cols: binary.BigEndian.Uint16(body[2:])})
		}
	}
}

func setSize(terminal *os.File, s runtime.Size) error {
	return control(terminal, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Cols})
	})
}
