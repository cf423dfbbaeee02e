package process

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// credential is whom a command runs as.
type credential struct {
	UID    int   `json:"uid"`
	GID    int   `json:"gid"`
	Groups []int `json:"groups"`
}

// userOf resolves whom a task or a command runs as, within what the options allow.
func (r *Runtime) userOf(spec string) (*credential, error) {
	if r.opt.User == "" {
		return lookupUser(spec)
	}
	own, err := lookupUser(r.opt.User)
	if err != nil || spec == "" {
		return own, err
	}
	c, err := lookupUser(spec)
	if err == nil && c.UID == 0 && own.UID != 0 {
		return nil, fmt.Errorf("user %q: this node runs no tasks as root; start its agent with --task-user root to permit it", spec)
	}
	return c, err
}

// lookupUser resolves "name", "uid", "name:group" or "uid:gid". Nil means the agent's own user.
func lookupUser(spec string) (*credential, error) {
	if spec == "" {
		return nil, nil
	}
	name, group, hasGroup := strings.Cut(spec, ":")
	c, err := primary(name, hasGroup)
	if err != nil {
		return nil, err
	}
	if hasGroup {
		if c.GID, err = lookupGroup(group); err != nil {
			return nil, err
		}
		c.Groups = []int{c.GID}
	}
	if os.Geteuid() != 0 && c.UID != os.Geteuid() {
		return nil, fmt.Errorf("user %q: the agent is not root and cannot become it", spec)
	}
	return c, nil
}

func primary(name string, hasGroup bool) (*credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		uid, numErr := strconv.Atoi(name)
		if numErr != nil || uid < 0 || !hasGroup {
			return nil, fmt.Errorf("user %q: this machine has no such user", name)
		}
		return &credential{UID: uid}, nil
	}
	c := &credential{}
	if c.UID, err = strconv.Atoi(u.Uid); err != nil {
		return nil, err
	}
	if c.GID, err = strconv.Atoi(u.Gid); err != nil {
		return nil, err
	}
	ids, _ := u.GroupIds()
	for _, id := range ids {
		if gid, err := strconv.Atoi(id); err == nil {
			c.Groups = append(c.Groups, gid)
		}
	}
	return c, nil
}

func lookupGroup(name string) (int, error) {
	if gid, err := strconv.Atoi(name); err == nil && gid >= 0 {
		return gid, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("group %q: this machine has no such group", name)
	}
	return strconv.Atoi(g.Gid)
}

// become drops to the credential, for the rest of this process's life, and gives up every way to gain privileges.
func (c *credential) become() error {
	if c != nil && os.Geteuid() == 0 {
		if err := syscall.Setgroups(c.Groups); err != nil {
			return fmt.Errorf("set groups: %w", err)
		}
		if err := syscall.Setgid(c.GID); err != nil {
			return fmt.Errorf("set group %d: %w", c.GID, err)
		}
		if err := syscall.Setuid(c.UID); err != nil {
			return fmt.Errorf("set user %d: %w", c.UID, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}
