package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) completionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "completion SHELL", Short: "Print the completion script of a shell",
		Long:      "Print the script that makes a shell complete commands, flags, and the names of roles, nodes, volumes, reservations, asks and tasks.",
		Example:   "  source <(polder completion bash)\n  polder completion zsh > \"${fpath[1]}/_polder\"\n  polder completion fish | source",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.Out, true)
			case "zsh":
				return root.GenZshCompletion(a.Out)
			case "fish":
				return root.GenFishCompletion(a.Out, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.Out)
		},
	}
}

func (a *app) versionCmd() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: cobra.NoArgs,
		Long:    "Print the version of this program. \"polder access whoami\" prints the server's.",
		Example: "  polder version\n  polder version -o json",
		RunE: func(*cobra.Command, []string) error {
			v := buildVersion(a.Version)
			if o.format == "json" {
				return json.NewEncoder(a.Out).Encode(v)
			}
			fmt.Fprintf(a.Out, "polder %s", v.Version)
			if v.Commit != "" {
				fmt.Fprintf(a.Out, " (%s)", v.Commit)
			}
			fmt.Fprintf(a.Out, " %s %s\n", v.Go, v.Platform)
			return nil
		},
	}
	cmd.Flags().VarP(&choice{&o.format, []string{"table", "json"}}, "output", "o", "`format`: table or json")
	complete(cmd, "output", "table", "json")
	return cmd
}

// version is what the build says about itself.
type version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func buildVersion(linked string) version {
	v := version{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if linked != "" {
		v.Version = linked
	} else if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value[:min(12, len(s.Value))]
		}
	}
	return v
}
