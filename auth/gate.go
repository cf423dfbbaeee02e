package auth

// How an agent passes on what a task of its node asks of a door: below GatePath on the server, with the agent's own certificate. What the
// task sent as its Authorization travels as GateAuthorization, since the request itself is the agent's.
const (
	GatePath          = "/gate"
	GateAuthorization = "Polder-Gate-Authorization"
)
