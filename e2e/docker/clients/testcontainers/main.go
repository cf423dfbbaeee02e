// Command testcontainers starts a container as tests do, with testcontainers-go: it waits for its port and its words, talks to it and ends
// it. It says ok, or ends with what went wrong. The image is its argument.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/wait"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := life(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ok")
}

func life(ctx context.Context, image string) (err error) {
	c, err := testcontainers.Run(ctx, image,
		testcontainers.WithCmd("sh", "-c", "mkdir /www; echo welcome > /www/index.html; echo serving; exec httpd -f -p 80 -h /www"),
		testcontainers.WithExposedPorts("80/tcp"),
		testcontainers.WithWaitStrategy(wait.ForLog("serving"), wait.ForHTTP("/").WithPort("80/tcp")),
	)
	defer func() { err = errors.Join(err, testcontainers.TerminateContainer(c, testcontainers.StopTimeout(0))) }()
	if err != nil {
		return err
	}
	url, err := c.Endpoint(ctx, "http")
	if err != nil {
		return err
	}
	if page, err := get(ctx, url); err != nil || page != "welcome" {
		return fmt.Errorf("%s says %q, %w", url, page, err)
	}
	code, out, err := c.Exec(ctx, []string{"sh", "-c", "echo inside; exit 4"}, exec.Multiplexed())
	if err != nil {
		return err
	}
	said, err := io.ReadAll(out)
	if err != nil || code != 4 || strings.TrimSpace(string(said)) != "inside" {
		return fmt.Errorf("exec says %q and ends with %d, %w", said, code, err)
	}
	return c.CopyToContainer(ctx, []byte("kept"), "/tmp/note", 0o644)
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return strings.TrimSpace(string(data)), err
}
