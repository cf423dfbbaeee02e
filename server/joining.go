package server

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
)

// Join lets a machine in: its join token proves that it may, and its request for a certificate that it holds the key.
func (a agents) Join(ctx context.Context, req *connect.Request[polderv1.JoinRequest]) (*connect.Response[polderv1.JoinResponse], error) {
	if named := requestedNode(req.Msg.Csr); named != "" && named != req.Msg.Node {
		return nil, invalid("node", "the certificate request is for node %q, the request says %q", named, clip(req.Msg.Node, 200))
	}
	id, chain, err := a.book.Join(ctx, a.cfg.CA, auth.NewSecret(req.Msg.Token), req.Msg.Csr)
	if err != nil {
		return nil, err
	}
	a.log.Info("node let in", "node", id.Name, "from", callerOf(ctx).remote)
	return connect.NewResponse(&polderv1.JoinResponse{Certificate: chain, Root: a.cfg.CA.RootPEM()}), nil
}

// Renew replaces a certificate that is still good.
func (a agents) Renew(ctx context.Context, req *connect.Request[polderv1.RenewRequest]) (*connect.Response[polderv1.RenewResponse], error) {
	chain, err := a.book.Renew(ctx, a.cfg.CA, callerOf(ctx).id, req.Msg.Csr)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&polderv1.RenewResponse{Certificate: chain}), nil
}

// requestedNode is the node that a certificate request names, so that the audit trail tells the truth; "" when it cannot be
// read, which package auth says better.
func requestedNode(csr []byte) string {
	block, _ := pem.Decode(csr)
	if block == nil {
		return ""
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || len(r.URIs) != 1 {
		return ""
	}
	return strings.TrimPrefix(r.URIs[0].Path, "/")
}
