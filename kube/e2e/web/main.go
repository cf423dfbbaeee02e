// Command web is in the image of the tests: "web serve ADDRESS TEXT" answers every request with a text, "web get URL" prints an answer.
// It resolves names itself, which a static busybox cannot. Called nc it is that program, see [nc].
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case filepath.Base(os.Args[0]) == "nc":
		return nc(args)
	case len(args) == 3 && args[0] == "serve":
		return http.ListenAndServe(args[1], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, args[2]) }))
	case len(args) == 2 && args[0] == "get":
		client := http.Client{Timeout: 5 * time.Second}
		res, err := client.Get(args[1])
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, err = io.Copy(os.Stdout, res.Body)
		return err
	}
	return fmt.Errorf("usage: web serve ADDRESS TEXT | web get URL")
}
