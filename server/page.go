package server

import (
	"encoding/base64"
	"iter"
	"strings"
)

const (
	defaultPage = 100
	maxPage     = 1000
	tokenPrefix = "1:" // version of page tokens
)

// pageAfter reads a page token: the key after which the page starts.
func pageAfter(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	data, err := base64.RawURLEncoding.DecodeString(token)
	key, ok := strings.CutPrefix(string(data), tokenPrefix)
	if err != nil || !ok {
		return "", invalid("page_token", "this is not a token of an earlier answer")
	}
	return key, nil
}

func pageToken(key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenPrefix + key))
}

func pageSize(n int32) (int, error) {
	switch {
	case n < 0 || n > maxPage:
		return 0, invalid("page_size", "%d is not between 1 and %d", n, maxPage)
	case n == 0:
		return defaultPage, nil
	}
	return int(n), nil
}

// pager is a request for one page.
type pager interface {
	GetPageSize() int32
	GetPageToken() string
}

// pageOf collects the rows that keep wants and the token of the next page. rows gives the rows after a key, in order.
func pageOf[V, P any](req pager, rows func(after string) iter.Seq2[string, V], keep func(V) bool, show func(V) P) ([]P, string, error) {
	size, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, "", err
	}
	after, err := pageAfter(req.GetPageToken())
	if err != nil {
		return nil, "", err
	}
	var out []P
	last := ""
	for key, row := range rows(after) {
		if !keep(row) {
			continue
		}
		if len(out) == size {
			return out, pageToken(last), nil
		}
		out = append(out, show(row))
		last = key
	}
	return out, "", nil
}
