package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func (a *app) consoleCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "console",
		Short: "Print a link that opens the console in a browser, logged in",
		Long: `Print a link that opens the console in a browser, logged in as you. It works once and within five minutes.

The server's certificate is signed by the cluster's own authority. A browser that does not know it warns; the context file
has the authority's certificate, to import.`,
		Example: "  polder console\n  xdg-open \"$(polder console)\"",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ticket, at, err := a.ticket(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "%s/login#ticket=%s\n", at, url.QueryEscape(ticket))
			return nil
		},
	}
}

// ticket gets a word to log in with from the server at the address it returns.
func (a *app) ticket(ctx context.Context) (word, at string, err error) {
	t, err := a.resolve()
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, a.conn.requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url+"/console/ticket", nil)
	if err != nil {
		return "", "", err
	}
	credentials{token: t.token}.sign(req.Header)
	res, err := t.http().Do(req)
	if err != nil {
		return "", "", fmt.Errorf("the console: %w", err)
	}
	defer res.Body.Close()
	var answer struct{ Ticket, Message string }
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	switch {
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return "", "", fail(exitDenied, "Give a good token with --token-file.", "the server refused: %s", answer.Message)
	case err != nil || res.StatusCode != http.StatusOK || answer.Ticket == "":
		return "", "", fail(exitError, "Is that a Polder server with a console?", "%s answered %s", t.url, res.Status)
	}
	return answer.Ticket, "https://" + res.Request.URL.Host, nil // the one of several servers that leads
}
