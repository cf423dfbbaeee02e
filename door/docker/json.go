package docker

import "encoding/json"

// thing is an object of the engine that is passed on with a few changes. Numbers are kept as they are.
type thing = map[string]any

// encode makes JSON of what cannot fail.
func encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // only maps, lists and texts come here
	}
	return string(data)
}

// under is the object below a key, nil when there is none. A nil object has nothing below any key.
func under(m thing, key string) thing {
	sub, _ := m[key].(thing)
	return sub
}

func text(m thing, key string) string {
	s, _ := m[key].(string)
	return s
}
