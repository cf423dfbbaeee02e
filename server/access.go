package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/auth"
)

// joinTTL is how long a join token is good when nobody says.
const joinTTL = 24 * time.Hour

// access serves AccessService.
type access struct{ *leader }

func (s access) WhoAmI(ctx context.Context, _ *connect.Request[polderv1.WhoAmIRequest]) (*connect.Response[polderv1.WhoAmIResponse], error) {
	id := callerOf(ctx).id
	return connect.NewResponse(&polderv1.WhoAmIResponse{Kind: string(id.Kind), Name: id.Name, Cluster: s.cfg.Cluster, Version: s.cfg.Version}), nil
}

func (s access) CanI(ctx context.Context, req *connect.Request[polderv1.CanIRequest]) (*connect.Response[polderv1.CanIResponse], error) {
	if !slices.Contains(auth.Verbs, auth.Verb(req.Msg.Verb)) {
		return nil, invalid("verb", "%q is none of %v", clip(req.Msg.Verb, 40), auth.Verbs)
	}
	out := &polderv1.CanIResponse{Allowed: true}
	if err := s.book.Policy().Check(callerOf(ctx).id, auth.Verb(req.Msg.Verb), req.Msg.Role); err != nil {
		out.Allowed, out.Reason = false, err.Error()
	}
	return connect.NewResponse(out), nil
}

func (s access) CreateToken(ctx context.Context, req *connect.Request[polderv1.CreateTokenRequest]) (*connect.Response[polderv1.CreateTokenResponse], error) {
	by := callerOf(ctx).id.String()
	valid, err := durationCore(req.Msg.ValidFor, "valid_for")
	if err != nil {
		return nil, err
	}
	if req.Msg.Kind == "join" {
		spec := auth.JoinSpec{TTL: joinTTL, Uses: 1, By: by} // a leaked one lets nobody in after its node
		if valid != nil {
			spec.TTL = *valid
		}
		t, secret, err := s.book.CreateJoin(ctx, s.cfg.CA, spec)
		if err != nil {
			return nil, err
		}
		return connect.NewResponse(&polderv1.CreateTokenResponse{Token: joinProto(t), Secret: secret.Reveal()}), nil
	}
	spec := auth.TokenSpec{Name: req.Msg.Name, By: by}
	if valid != nil {
		spec.TTL = *valid
	}
	t, secret, err := s.book.CreateToken(ctx, spec)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&polderv1.CreateTokenResponse{Token: tokenProto(t), Secret: secret.Reveal()}), nil
}

func tokenProto(t auth.Token) *polderv1.Token {
	return &polderv1.Token{
		Id: t.ID, Kind: "user", Name: t.Name, Created: timeProto(t.Created), Expires: timeProto(t.Expires), Revoked: !t.Revoked.IsZero(),
	}
}

func joinProto(t auth.Join) *polderv1.Token {
	return &polderv1.Token{
		Id: t.ID, Kind: "join", Created: timeProto(t.Created), Expires: timeProto(t.Expires), Revoked: !t.Revoked.IsZero(),
	}
}

func (s access) ListTokens(context.Context, *connect.Request[polderv1.ListTokensRequest]) (*connect.Response[polderv1.ListTokensResponse], error) {
	out := &polderv1.ListTokensResponse{}
	for _, t := range s.book.Tokens() {
		out.Tokens = append(out.Tokens, tokenProto(t))
	}
	for _, t := range s.book.Joins() {
		out.Tokens = append(out.Tokens, joinProto(t))
	}
	return connect.NewResponse(out), nil
}

func (s access) RevokeToken(ctx context.Context, req *connect.Request[polderv1.RevokeTokenRequest]) (*connect.Response[polderv1.RevokeTokenResponse], error) {
	err := s.book.RevokeToken(ctx, req.Msg.Id)
	if errors.Is(err, auth.ErrNotFound) {
		err = s.book.RevokeJoin(ctx, req.Msg.Id)
	}
	return connect.NewResponse(&polderv1.RevokeTokenResponse{}), err
}

// IssueCertificate signs for the token that the call came with. Who came with a certificate has no say in another one.
func (s access) IssueCertificate(ctx context.Context, req *connect.Request[polderv1.IssueCertificateRequest]) (*connect.Response[polderv1.IssueCertificateResponse], error) {
	if req.Msg.Role != "" {
		if err := s.book.Policy().Check(callerOf(ctx).id, auth.Run, req.Msg.Role); err != nil {
			return nil, err
		}
	}
	token := auth.BearerOf(callerOf(ctx).http.Header.Get("Authorization"))
	chain, expires, err := s.book.IssueClient(s.cfg.CA, token, req.Msg.Csr, req.Msg.Role)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&polderv1.IssueCertificateResponse{Certificate: chain, Expires: timeProto(expires)}), nil
}

func (s access) GetPermissions(context.Context, *connect.Request[polderv1.GetPermissionsRequest]) (*connect.Response[polderv1.GetPermissionsResponse], error) {
	rules, revision := s.book.Rules()
	out := &polderv1.GetPermissionsResponse{Revision: revision}
	for _, r := range rules {
		p := &polderv1.Permission{Subject: r.Subject, Role: r.Role}
		for _, v := range r.Verbs {
			p.Verbs = append(p.Verbs, string(v))
		}
		out.Permissions = append(out.Permissions, p)
	}
	return connect.NewResponse(out), nil
}

func (s access) SetPermissions(ctx context.Context, req *connect.Request[polderv1.SetPermissionsRequest]) (*connect.Response[polderv1.SetPermissionsResponse], error) {
	var rules []auth.Rule
	for _, p := range req.Msg.Permissions {
		r := auth.Rule{Subject: strings.TrimSpace(p.GetSubject()), Role: p.GetRole()}
		for _, v := range p.GetVerbs() {
			r.Verbs = append(r.Verbs, auth.Verb(v))
		}
		rules = append(rules, r)
	}
	if err := s.book.SetRules(ctx, rules, req.Msg.BaseRevision); err != nil {
		return nil, err
	}
	_, revision := s.book.Rules()
	return connect.NewResponse(&polderv1.SetPermissionsResponse{Revision: revision}), nil
}
