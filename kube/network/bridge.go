package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

// makeBridge makes the bridge as CNI would, before the first pod: names are served at its address. One that is there is kept.
func (s *server) makeBridge() error {
	link, err := netlink.LinkByName(Bridge)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = Bridge
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making bridge %s: %w", Bridge, err)
		}
		link, err = netlink.LinkByName(Bridge)
	}
	if err != nil {
		return fmt.Errorf("bridge %s: %w", Bridge, err)
	}
	at := &netlink.Addr{IPNet: &net.IPNet{IP: s.gateway.Addr().AsSlice(), Mask: net.CIDRMask(s.gateway.Bits(), s.gateway.Addr().BitLen())}}
	if err := netlink.AddrReplace(link, at); err != nil {
		return fmt.Errorf("bridge %s: address %s: %w", Bridge, s.gateway, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bridge %s: %w", Bridge, err)
	}
	return filterBridged()
}

// filterBridged has packets between pods of one bridge pass the rules of services. Without it a pod's packet reaches a service, and
// the answer comes back from an address that the pod has never heard of.
func filterBridged() error {
	err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1\n"), 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; load the kernel's module: modprobe br_netfilter", err)
	}
	return err
}

// podsOnBridge reports whether a pod hangs on the bridge.
func podsOnBridge() (bool, error) {
	bridge, err := netlink.LinkByName(Bridge)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	links, err := netlink.LinkList()
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index {
			return true, nil
		}
	}
	return false, err
}

func removeBridge() error {
	link, err := netlink.LinkByName(Bridge)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}
