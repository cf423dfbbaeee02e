package server

import (
	"context"
	"fmt"

	"polder.dev/polder/auth"
	"polder.dev/polder/store"
)

// caKey has the digest of the cluster's root certificate. Agents trust that one alone, so a server with another could not take
// over.
const caKey = "/cluster/ca"

// sameCA fails when the servers of this cluster have another certificate authority than this one.
func (s *Server) sameCA(ctx context.Context) error {
	snap, err := s.cfg.Store.View(ctx, caKey)
	if err != nil {
		return fmt.Errorf("reading the cluster's certificate authority: %w", err)
	}
	own := auth.Digest(s.cfg.CA.Root())
	for _, e := range snap.Entries {
		if string(e.Value) != own {
			return fmt.Errorf("this server's certificate authority (%s) is not the cluster's (%s): no agent would trust it; copy the directory ca of another server of this cluster into this one's --dir", own, e.Value)
		}
	}
	return nil
}

// keepCA writes down whose authority the cluster's is, once, and fails as sameCA does.
func (s *Server) keepCA(ctx context.Context, won store.Leadership) error {
	if err := s.sameCA(ctx); err != nil {
		return err
	}
	_, _, err := store.Records{Reader: s.cfg.Store, Writer: won}.Save(ctx, caKey, []byte(auth.Digest(s.cfg.CA.Root())), 0)
	if err != nil {
		return fmt.Errorf("keeping the cluster's certificate authority: %w", err)
	}
	return nil
}
