package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	polderv1 "polder.dev/polder/api/polder/v1"
)

const doorEnvLong = `Write what docker needs to reach the pool, and print the lines that make a shell use it:

  eval "$(polder door env docker)"
  docker run -d --name web nginx

A configuration of docker's own in --dir, which only you can read, gets your token, which docker sends over TLS with every call, a
client certificate, for programs that send no token, and a docker context named polder. Without the permission host, builds are told to
use the classic builder. Each is as good as the token itself:
delete the directory to be rid of it, or revoke the token. The certificate is good for 90 days; the command gets a new one.`

func (a *app) doorCmd() *cobra.Command {
	return a.noun("door", "Use the pool through other systems' own programs", "  polder door list\n  eval \"$(polder door env docker)\"\n  eval \"$(polder door env mesos)\"",
		a.doorListCmd(), a.frameworksCmd(),
		a.noun("env", "Print what clients of a door need, as shell exports", "  eval \"$(polder door env docker --role corp/search)\"",
			a.doorDockerCmd(), a.doorMesosCmd(), a.doorKubeCmd()))
}

func (a *app) doorDockerCmd() *cobra.Command {
	var address, role, dir string
	cmd := &cobra.Command{
		Use: "docker", Short: "For docker, docker compose and what else reads docker's configuration", Long: doorEnvLong,
		Example: "  eval \"$(polder door env docker)\"\n  eval \"$(polder door env docker --role corp/search)\"",
		Args:    cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, c *client, _ []string) error {
			return a.doorDocker(ctx, c, address, role, dir)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&address, "address", "", "`address` of the Docker door, host:port (default that of the context file)")
	f.StringVar(&role, "role", "", "`role` of containers, volumes and networks that name none")
	f.StringVar(&dir, "dir", "", "`directory` for docker's configuration (default polder/docker in your configuration directory)")
	return cmd
}

func (a *app) doorDocker(ctx context.Context, c *client, address, role, dir string) error {
	file, err := a.findContext()
	if err != nil {
		return err
	}
	token, err := a.token(file)
	if err != nil {
		return err
	}
	ca, err := caText(first(a.conn.ca, a.Getenv("POLDER_CA"), file.CA))
	if err != nil {
		return err
	}
	address = first(address, file.Docker)
	if _, _, err := net.SplitHostPort(address); err != nil || token == "" || ca == "" {
		return fail(exitUsage, "Start the server with --docker ADDRESS, and give that here with --address; the token and the CA come from the context file.",
			"where is the Docker door, and who are you? The address is %q, the token %s, the CA %s", address, presence(token), presence(ca))
	}
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return fail(exitUsage, "Give one with --dir.", "no directory for docker's configuration: %v", err)
		}
		dir = filepath.Join(config, "polder", "docker")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	cert, key, err := c.certificate(ctx, role)
	if err != nil {
		return err
	}
	d := dockerFiles{host: "tcp://" + address, token: token, role: role, ca: ca, cert: cert, key: key, home: a.Getenv("HOME")}
	if err := d.write(dir); err != nil {
		return fmt.Errorf("docker's configuration: %w", err)
	}
	builder, err := c.builder(ctx, role)
	if err == nil {
		fmt.Fprintf(a.Out, "export DOCKER_HOST=tcp://%s DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=%s DOCKER_CONFIG=%[2]s%s\n", address, quote(dir), builder)
	}
	return err
}

// builder is what docker is told of builders: whoever may not do on a machine what they like builds with the classic one.
func (c *client) builder(ctx context.Context, role string) (string, error) {
	may, err := do(ctx, c.access.CanI, &polderv1.CanIRequest{Verb: "host", Role: first(role, "default")})
	if err != nil || may.Allowed {
		return "", err
	}
	return " DOCKER_BUILDKIT=0", nil
}

func presence(s string) string {
	if s == "" {
		return "is missing"
	}
	return "is there"
}

// caText is the CA in PEM, given as text or as the name of a file.
func caText(ca string) (string, error) {
	if ca == "" || strings.Contains(ca, "-----BEGIN") {
		return ca, nil
	}
	data, err := os.ReadFile(ca)
	if err != nil {
		return "", fail(exitError, "Give the cluster's CA with --ca or POLDER_CA.", "CA file: %v", err)
	}
	return string(data), nil
}

// replacePrivate puts a file that only its owner can read in the place of another.
func replacePrivate(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // created with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// quote makes a word for a shell.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
