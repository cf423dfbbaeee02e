package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// KubeFile is the file below the context file's directory that agents read what to start for pods from, once "polder-kube up"
// has written it.
const KubeFile = "kube/node.json"

// kubeClientFile is where "polder-kube up" says, below the context file's directory, how to reach the Kubernetes API.
const kubeClientFile = "kube/client.json"

const doorKubeLong = `Write a kubeconfig with your own token, and print the line that makes a shell use it. Only you can read the file.

In Kubernetes you may do what you may in the pool: the verb view on a role lets you look into its namespace, run lets you make and change
things there, logs and exec do what they say. "kubectl auth can-i" asks the same table of permissions as "polder access can-i".`

func (a *app) doorKubeCmd() *cobra.Command {
	var from, dir string
	cmd := &cobra.Command{
		Use: "kube", Short: "For kubectl and other clients of Kubernetes", Long: doorKubeLong,
		Example: "  eval \"$(polder door env kube)\"\n  kubectl get nodes",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.kubeEnv(from, dir) },
	}
	f := cmd.Flags()
	f.StringVar(&from, "client", "", "`file` that \"polder-kube up\" wrote (default kube/client.json beside the context file's token)")
	f.StringVar(&dir, "dir", "", "`directory` for the kubeconfig (default polder/kube in your configuration directory)")
	return cmd
}

func (a *app) kubeEnv(from, dir string) error {
	c, err := a.findContext()
	if err != nil {
		return err
	}
	token, err := a.token(c)
	if err != nil {
		return err
	}
	if token == "" || from == "" && c.TokenFile == "" {
		return fail(exitUsage, "Start one with \"polder up --kube\", or set POLDER_CONTEXT.", "which server, and who are you? There is no context file")
	}
	from = first(from, filepath.Join(filepath.Dir(c.TokenFile), kubeClientFile))
	data, err := os.ReadFile(from)
	if err != nil {
		return fail(exitNotFound, "Start it with \"polder-kube up --dir "+filepath.Dir(c.TokenFile)+"\", or copy its kube/client.json here and name it with --client.",
			"server %s has no Kubernetes door here: %v", c.Server, err)
	}
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return fail(exitUsage, "Give one with --dir.", "no directory for the kubeconfig: %v", err)
		}
		dir = filepath.Join(config, "polder", "kube")
	}
	file, err := writeKubeconfig(dir, from, data, token)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "export KUBECONFIG=%s\n", quote(file))
	return nil
}

// writeKubeconfig writes a kubeconfig for a token. JSON is YAML.
func writeKubeconfig(dir, from string, client []byte, token string) (string, error) {
	var k struct {
		Server string `json:"server"`
		CA     string `json:"ca"`
	}
	dec := json.NewDecoder(bytes.NewReader(client))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&k); err != nil {
		return "", fmt.Errorf("%s: %w", from, err)
	}
	type object = map[string]any
	text, err := json.MarshalIndent(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "polder",
		"clusters": []object{{"name": "polder", "cluster": object{"server": k.Server, "certificate-authority-data": []byte(k.CA)}}},
		"users":    []object{{"name": "polder", "user": object{"token": token}}},
		"contexts": []object{{"name": "polder", "context": object{"cluster": "polder", "user": "polder"}}},
	}, "", "  ")
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	file := filepath.Join(dir, "config")
	return file, replacePrivate(file, string(text))
}
