package agent

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	tunnelName = "flannel.1"
	tunnelPort = 8472
	// ours marks our routes among those of the node: what is ours and no longer wanted is taken away, nothing else is.
	ours netlink.RouteProtocol = 143
)

// routeDirectly sends packets for another node's pods to that node: all nodes are in one network.
func routeDirectly(others []peer) error {
	wanted := []*netlink.Route{}
	for _, other := range others {
		_, pods, err := net.ParseCIDR(other.pods)
		if err != nil {
			return err
		}
		wanted = append(wanted, &netlink.Route{Dst: pods, Gw: net.ParseIP(other.address), Protocol: ours})
	}
	return makeRoutes(wanted)
}

// routeByTunnel sends them through a device that wraps them: the first address of the other's range is its end of the
// tunnel, known by hardware address, which follows from the node's address. Nobody has to be asked for it.
func routeByTunnel(own peer, others []peer) error {
	device, err := tunnel(own)
	if err != nil {
		return fmt.Errorf("cannot make %s: %w", tunnelName, err)
	}
	wanted := []*netlink.Route{}
	for _, other := range others {
		first, pods, err := net.ParseCIDR(other.pods)
		if err != nil {
			return err
		}
		if err := farEnd(device, first, other); err != nil {
			return fmt.Errorf("cannot set the way to %s: %w", other.name, err)
		}
		wanted = append(wanted, &netlink.Route{
			LinkIndex: device.Attrs().Index, Dst: pods, Gw: first, Flags: int(netlink.FLAG_ONLINK), Protocol: ours,
		})
	}
	return makeRoutes(wanted)
}

func tunnel(own peer) (netlink.Link, error) {
	first, _, err := net.ParseCIDR(own.pods)
	if err != nil {
		return nil, err
	}
	device, err := netlink.LinkByName(tunnelName)
	if _, missing := err.(netlink.LinkNotFoundError); missing {
		under, failure := carrier(own.address)
		if failure != nil {
			return nil, failure
		}
		attributes := netlink.NewLinkAttrs()
		attributes.Name, attributes.MTU, attributes.HardwareAddr = tunnelName, vxlanMTU, hardware(own.address)
		err = netlink.LinkAdd(&netlink.Vxlan{
			LinkAttrs: attributes, VxlanId: 1, VtepDevIndex: under, SrcAddr: net.ParseIP(own.address), Port: tunnelPort,
		})
		if err == nil {
			device, err = netlink.LinkByName(tunnelName)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := onlyAddress(device, first); err != nil {
		return nil, err
	}
	return device, netlink.LinkSetUp(device)
}

// carrier is the device that has the node's address.
func carrier(address string) (int, error) {
	all, err := netlink.AddrList(nil, unix.AF_INET)
	if err != nil {
		return 0, err
	}
	for _, one := range all {
		if one.IP.String() == address {
			return one.LinkIndex, nil
		}
	}
	return 0, fmt.Errorf("no device has the node's address %s", address)
}

// onlyAddress gives the device this address alone: a node that came back under its name may have got another range.
func onlyAddress(device netlink.Link, wanted net.IP) error {
	there, err := netlink.AddrList(device, unix.AF_INET)
	if err != nil {
		return err
	}
	for _, one := range there {
		if !one.IP.Equal(wanted) {
			if err := netlink.AddrDel(device, &one); err != nil {
				return err
			}
		}
	}
	return netlink.AddrReplace(device, &netlink.Addr{IPNet: &net.IPNet{IP: wanted, Mask: net.CIDRMask(32, 32)}})
}

// hardware is a locally administered address made of the node's own.
func hardware(address string) net.HardwareAddr {
	return append(net.HardwareAddr{0x0a, 0x42}, net.ParseIP(address).To4()...)
}

// farEnd says which hardware address the other end has, and at which node it is.
func farEnd(device netlink.Link, first net.IP, other peer) error {
	mac := hardware(other.address)
	entry := netlink.Neigh{LinkIndex: device.Attrs().Index, State: unix.NUD_PERMANENT, IP: first, HardwareAddr: mac}
	if err := netlink.NeighSet(&entry); err != nil {
		return err
	}
	return netlink.NeighSet(&netlink.Neigh{
		LinkIndex: device.Attrs().Index, Family: unix.AF_BRIDGE, State: unix.NUD_PERMANENT, Flags: netlink.NTF_SELF,
		IP: net.ParseIP(other.address), HardwareAddr: mac,
	})
}

// makeRoutes makes these the only ones of ours.
func makeRoutes(wanted []*netlink.Route) error {
	keep := map[string]bool{}
	for _, route := range wanted {
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("cannot set the route to %s: %w", route.Dst, err)
		}
		keep[route.Dst.String()] = true
	}
	there, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Protocol: ours}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return err
	}
	for _, route := range there {
		if !keep[route.Dst.String()] {
			if err := netlink.RouteDel(&route); err != nil {
				return err
			}
		}
	}
	return nil
}
