package mesos

import (
	"context"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	polderv1 "polder.dev/polder/api/polder/v1"
	"polder.dev/polder/core/resource"
	"polder.dev/polder/core/role"
	"polder.dev/polder/door/mesos/wire"
	"polder.dev/polder/door/mesos/wire/masterv1"
	"polder.dev/polder/door/mesos/wire/mesosv1"
	"polder.dev/polder/door/mesos/wire/quotav1"
	"polder.dev/polder/planfile"
)

// Quota and weights are the plan's. A change is a new revision of it, made from the newest one, in the name of who asked and with
// his permission to plan each role it changes.

// planTries is how often a change is made anew because somebody else changed the plan meanwhile.
const planTries = 3

// mayPlan asks the pool whether somebody may plan a role. It is asked before a change is looked at: why one is refused tells of the role.
func (d *Door) mayPlan(who principal, name string) error {
	ctx, cancel := contextFor(d, who.caller)
	defer cancel()
	res, err := d.c.API.Access.CanI(ctx, connect.NewRequest(&polderv1.CanIRequest{Verb: "plan", Role: d.pathOf(name)}))
	switch {
	case err != nil:
		return statusOf(err)
	case !res.Msg.Allowed:
		return answer(http.StatusForbidden, "Not authorized to change role '%.80s': %s", name, res.Msg.Reason)
	}
	return nil
}

// changePlan applies a change of the plan.
func (d *Door) changePlan(who principal, comment string, change func(*role.Plan) error) error {
	for try := 1; ; try++ {
		err := d.changeOnce(who, comment, change)
		if connect.CodeOf(err) != connect.CodeAborted || try == planTries {
			return asAnswer(err)
		}
	}
}

// asAnswer leaves an answer as it is and makes one of what the server said.
func asAnswer(err error) error {
	if connect.CodeOf(err) == connect.CodeUnknown {
		return err
	}
	return statusOf(err)
}

func (d *Door) changeOnce(who principal, comment string, change func(*role.Plan) error) error {
	ctx, cancel := contextFor(d, who.caller)
	defer cancel()
	now, err := d.c.API.Plans.Get(withSelf(ctx), connect.NewRequest(&polderv1.PlanServiceGetRequest{}))
	if err != nil {
		return err
	}
	plan, err := planfile.Parse([]byte(now.Msg.Yaml))
	if err != nil {
		return err
	}
	if err := change(plan); err != nil {
		return err
	}
	text, err := planfile.Marshal(plan)
	if err != nil {
		return err
	}
	_, err = d.c.API.Plans.Apply(ctx, connect.NewRequest(&polderv1.ApplyRequest{
		Plan: string(text), BaseRevision: now.Msg.GetRevision().GetRevision(), Comment: comment,
	}))
	if err == nil {
		d.nudge()
	}
	return err
}

// setRole changes what a plan says of a role, which it may not have yet.
func setRole(p *role.Plan, path string, set func(*role.RoleSpec)) {
	if p.Roles == nil {
		p.Roles = map[string]role.RoleSpec{}
	}
	spec := p.Roles[path]
	set(&spec)
	p.Roles[path] = spec
}

// updateQuota replaces guarantees and limits of roles, all of them or none.
func (d *Door) updateQuota(who principal, m *masterv1.Call_UpdateQuota) error {
	var names []string
	sets := map[string][2]amounts{}
	for _, c := range m.GetQuotaConfigs() {
		guarantee, err := quantities(c.Guarantees)
		if err != nil {
			return answer(http.StatusBadRequest, "Invalid quota config of role '%s': guarantees: %v", c.GetRole(), err)
		}
		limit, err := quantities(c.Limits)
		if err != nil {
			return answer(http.StatusBadRequest, "Invalid quota config of role '%s': limits: %v", c.GetRole(), err)
		}
		if err := d.checkQuota(who, c.GetRole(), guarantee, limit, m.GetForce()); err != nil {
			return err
		}
		names = append(names, c.GetRole())
		sets[d.pathOf(c.GetRole())] = [2]amounts{guarantee, limit}
	}
	return d.changePlan(who, "mesos: quota of "+strings.Join(names, ", "), func(p *role.Plan) error {
		for path, s := range sets {
			setRole(p, path, func(r *role.RoleSpec) { r.Guarantee, r.Limit = replaced(r.Guarantee, s[0]), replaced(r.Limit, s[1]) })
		}
		return d.fitsCapacity(p, m.GetForce())
	})
}

// quantities reads a map of quantities by Mesos' names.
func quantities(in map[string]*mesosv1.Value_Scalar) (amounts, error) {
	out := amounts{}
	for name, v := range in {
		if name == "ports" || !resource.ValidName(kindName(name)) {
			return nil, refusal("'%.40s' is not a scalar resource", name)
		}
		if x := v.GetValue(); !(x >= 0) || math.IsInf(x, 1) || x > 1e15 {
			return nil, refusal("%s is %v", name, x)
		}
		out[kindName(name)] = fromScalar(kindName(name), v.GetValue())
	}
	return out, nil
}

// replaced puts amounts in the place of those of the default pool; other pools are not Mesos' to see.
func replaced(old resource.Resources, now amounts) resource.Resources {
	out := resource.Resources{}
	for name, a := range old {
		if pool, _ := resource.SplitName(name); pool != "" {
			out[name] = a
		}
	}
	for kind, a := range now {
		out[kind] = a
	}
	return out
}

// checkQuota refuses whom the pool refuses, and what Mesos refuses: a limit below the guarantee, or, unless it is forced, below what runs.
func (d *Door) checkQuota(who principal, name string, guarantee, limit amounts, force bool) error {
	if name == "*" {
		return answer(http.StatusBadRequest, "Invalid quota config: setting quota for the default role '*' is not supported")
	}
	if err := checkRole(name); err != nil {
		return answer(http.StatusBadRequest, "%v", err)
	}
	if err := d.mayPlan(who, name); err != nil {
		return err
	}
	d.mu.Lock()
	usage := d.quotas[d.pathOf(name)].usage
	d.mu.Unlock()
	for kind, most := range limit {
		switch {
		case guarantee[kind] > most:
			return answer(http.StatusBadRequest, "Invalid quota config of role '%s': the guarantee of %s is above the limit", name, mesosName(kind))
		case usage[kind] > most && !force:
			return answer(http.StatusBadRequest, "Role '%s' uses %v %s, more than the limit of %v; with 'force' its borrowers get notice", name,
				toScalar(kind, usage[kind]), mesosName(kind), toScalar(kind, most))
		}
	}
	return nil
}

// fitsCapacity refuses a plan that promises more than the nodes have, unless it is forced.
func (d *Door) fitsCapacity(p *role.Plan, force bool) error {
	if force {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	have, promised := amounts{}, amounts{}
	for _, n := range d.nodes {
		have = plus(have, n.total)
	}
	for path, spec := range p.Roles {
		if !strings.Contains(path, "/") {
			for name, a := range spec.Guarantee {
				_, kind := resource.SplitName(name)
				promised[kind] = promised[kind].Add(a)
			}
		}
	}
	for kind, a := range promised {
		if a > have[kind] {
			return answer(http.StatusBadRequest, "the roles' guarantees of %s would be %v, the nodes have %v; 'force' sets them nevertheless", mesosName(kind),
				toScalar(kind, a), toScalar(kind, have[kind]))
		}
	}
	return nil
}

// setQuota is Mesos' older way: a guarantee that is the limit, too, of a role that has none yet.
func (d *Door) setQuota(who principal, m *quotav1.QuotaRequest) error {
	w, err := wantedOf(m.GetGuarantee())
	if err != nil {
		return answer(http.StatusBadRequest, "Failed to validate set quota request: %v", err)
	}
	if err := d.checkQuota(who, m.GetRole(), w.amounts, w.amounts, m.GetForce()); err != nil {
		return err
	}
	return d.changePlan(who, "mesos: quota of "+m.GetRole(), func(p *role.Plan) error {
		path := d.pathOf(m.GetRole())
		if spec := p.Roles[path]; len(spec.Guarantee)+len(spec.Limit) > 0 {
			return answer(http.StatusBadRequest, "Failed to validate set quota request: Quota already set for role '%s'", m.GetRole())
		}
		setRole(p, path, func(r *role.RoleSpec) { r.Guarantee, r.Limit = w.amounts, w.amounts })
		if err := d.fitsCapacity(p, m.GetForce()); err != nil {
			return answer(http.StatusConflict, "%v", err)
		}
		return nil
	})
}

// removeQuota takes guarantee and limit of a role away.
func (d *Door) removeQuota(who principal, name string) error {
	if err := d.mayPlan(who, name); err != nil {
		return err
	}
	return d.changePlan(who, "mesos: no quota of "+name, func(p *role.Plan) error {
		path := d.pathOf(name)
		if spec, ok := p.Roles[path]; !ok || len(spec.Guarantee)+len(spec.Limit) == 0 {
			return answer(http.StatusBadRequest, "Failed to remove quota for role '%s': no quota is set", name)
		}
		setRole(p, path, func(r *role.RoleSpec) { r.Guarantee, r.Limit = replaced(r.Guarantee, nil), replaced(r.Limit, nil) })
		return nil
	})
}

// updateWeights sets weights of roles, all of them or none.
func (d *Door) updateWeights(who principal, list []*mesosv1.WeightInfo) error {
	var names []string
	weights := map[string]role.Weight{}
	for _, w := range list {
		weight, err := role.ParseWeight(strconv.FormatFloat(w.GetWeight(), 'f', -1, 64))
		if err == nil {
			err = checkRole(w.GetRole())
		}
		if err != nil {
			return answer(http.StatusBadRequest, "Failed to validate update weights request of role '%.80s': %v", w.GetRole(), err)
		}
		names = append(names, w.GetRole())
		weights[d.pathOf(w.GetRole())] = weight
	}
	return d.changePlan(who, "mesos: weights of "+strings.Join(names, ", "), func(p *role.Plan) error {
		for path, w := range weights {
			setRole(p, path, func(r *role.RoleSpec) { r.Weight = &w })
		}
		return nil
	})
}

// serveQuota is the document of version 0: read, set with POST, remove with DELETE.
func (d *Door) serveQuota(who principal, w http.ResponseWriter, r *http.Request) error {
	switch r.Method {
	case http.MethodPost:
		m := &quotav1.QuotaRequest{}
		if err := readJSON(w, r, func(data []byte) error { return wire.UnmarshalJSON(data, m) }); err != nil {
			return err
		}
		return d.setQuota(who, m)
	case http.MethodDelete:
		_, name, _ := strings.Cut(cleanPath(r.URL.Path), "/quota/")
		return d.removeQuota(who, name)
	}
	return document((*Door).quotaDoc)(d, who, w, r)
}

// serveWeights is the document of version 0: read, or set with PUT.
func (d *Door) serveWeights(who principal, w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPut {
		return document((*Door).weightsDoc)(d, who, w, r)
	}
	m := &masterv1.Call_UpdateWeights{}
	if err := readJSON(w, r, func(data []byte) error {
		return wire.UnmarshalJSON(slices.Concat([]byte(`{"weight_infos":`), data, []byte(`}`)), m)
	}); err != nil {
		return err
	}
	return d.updateWeights(who, m.WeightInfos)
}

// markGone forgets a node that is gone for good.
func (d *Door) markGone(who principal, node string) error {
	return d.nodeOrder(who, func(ctx context.Context) error {
		_, err := d.c.API.Nodes.Remove(ctx, connect.NewRequest(&polderv1.NodeServiceRemoveRequest{Name: node}))
		return err
	})
}
