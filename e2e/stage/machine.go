package stage

import (
	"fmt"
	"os/exec"
	"time"
)

// Machine describes where something was measured, and how busy it was meanwhile.
func Machine() string {
	said := func(name string, arg ...string) string {
		out, err := run(exec.Command(name, arg...))
		if err != nil {
			return err.Error()
		}
		return string(out[:len(out)-1])
	}
	return fmt.Sprintf("%s, %s cores, Linux %s, load %s", time.Now().Format(time.DateOnly), said("nproc"), said("uname", "-r"),
		said("cut", "-d ", "-f1-3", "/proc/loadavg"))
}
