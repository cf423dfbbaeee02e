package swarm

import (
	"hash/maphash"
	"sync"
)

// changing lets clients change one thing after the other, each knowing what the one before made of it: services with different names at the
// same time, so that they are written down together, and everything else alone.
type changing struct {
	alone sync.RWMutex    // for reading: a service
	names [256]sync.Mutex // by a hash of the name
}

var nameSeed = maphash.MakeSeed()

// service waits until nobody else changes what has the name, or something that is no service.
func (c *changing) service(name string) (done func()) {
	c.alone.RLock()
	one := &c.names[maphash.String(nameSeed, name)%uint64(len(c.names))]
	one.Lock()
	return func() {
		one.Unlock()
		c.alone.RUnlock()
	}
}

// other waits until nobody else changes anything.
func (c *changing) other() (done func()) {
	c.alone.Lock()
	return c.alone.Unlock
}
