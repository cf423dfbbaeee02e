package auth

// How an agent passes on what a task of its node asks of a door: below GatePath on the server, with the agent's own certificate. What the
// task sent as its Authorization travels as GateAuthorization, since the request itself is the agent's. GateToken is the variable in which a task
// that sends no credentials may have a bearer token for its door.
const (
	GatePath          = "/gate"
	GateAuthorization = "Polder-Gate-Authorization"
	GateToken         = "POLDER_GATE_TOKEN"
)
