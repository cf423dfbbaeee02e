package process

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// awaitEnd parks the calling goroutine, not a thread, until the process behind the descriptor has ended or the file is
// closed. A pidfd is readable from then on.
func awaitEnd(pidfd *os.File) error {
	conn, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return n > 0 && err == nil
	})
}

// pidfdFile hands a pidfd to the runtime's poller.
func pidfdFile(fd int, pid int) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("pidfd:%d", pid)), nil
}

// reap takes a zombie child off the kernel's hands. code is its exit code; ok is false when it is not our child, or a
// signal ended it.
func reap(pid int) (code int, ok bool) {
	var ws unix.WaitStatus
	for {
		got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		return ws.ExitStatus(), err == nil && got == pid && ws.Exited()
	}
}
