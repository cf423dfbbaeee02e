package main

import (
	"encoding/json"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"polder.dev/polder/kube/node"
)

// Descriptors that the agent gives this program.
const (
	resultFD = 3 // how it ended, as JSON
	sizesFD  = 4 // sizes of the terminal
)

func execCommand() *cobra.Command {
	var c node.Command
	var stdin bool
	cmd := &cobra.Command{
		Use: "exec", Short: "Run a command in a pod of this machine; agents start this", Args: cobra.MinimumNArgs(1), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			say := os.NewFile(resultFD, "result")
			if _, err := say.Stat(); err != nil {
				return errors.New("agents start this; use kubectl exec, or polder exec")
			}
			c.Args, c.Out, c.Err, c.Sizes = args, os.Stdout, os.Stderr, os.NewFile(sizesFD, "sizes")
			if stdin {
				c.In = os.Stdin
			}
			code, err := node.Exec(cmd.Context(), c)
			result := map[string]any{"code": code}
			if err != nil {
				result["error"] = err.Error()
			}
			return json.NewEncoder(say).Encode(result)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Dir, "dir", "", "`directory` of the node")
	f.StringVar(&c.Containerd, "containerd", "", "`socket` of containerd, if it is not the node's own")
	f.StringVar(&c.Pod, "pod", "", "`uid` of the pod")
	f.BoolVar(&stdin, "stdin", false, "send standard input")
	f.BoolVar(&c.TTY, "tty", false, "give it a terminal")
	return cmd
}
