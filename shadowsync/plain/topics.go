package plain

import (
	"strings"

	"github.com/tidehold/tidehold/gateway/iot"
	"github.com/tidehold/tidehold/gateway/topic"
)

// classic stands for the classic shadow in a topic: no shadow has this name.
const classic = "~"

// want is the operation of an intent slot.
const want topic.Op = "want"

// prefix is R/{thing}/{shadow}/.
func prefix(root string, key iot.ShadowKey) string {
	name := string(key.Shadow)
	if key.Shadow == iot.Classic {
		name = classic
	}
	return root + "/" + string(key.Thing) + "/" + name + "/"
}

// filters are what requests come under.
func filters(root string) []topic.Filter {
	return []topic.Filter{
		topic.Filter(root + "/+/+/update"), topic.Filter(root + "/+/+/get"),
		topic.Filter(root + "/+/+/delete"), topic.Filter(root + "/+/+/want/+"),
	}
}

// parse takes the topic of a request apart; app is that of an intent slot.
func parse(root, name string) (key iot.ShadowKey, op topic.Op, app string, ok bool) {
	rest, ok := strings.CutPrefix(name, root+"/")
	if !ok {
		return key, "", "", false
	}
	levels := strings.Split(rest, "/")
	if len(levels) < 3 {
		return key, "", "", false
	}
	thing, err := iot.ParseThingName(levels[0])
	if err != nil {
		return key, "", "", false
	}
	key.Thing = thing
	if levels[1] != classic {
		if key.Shadow, err = iot.ParseShadowName(levels[1]); err != nil || key.Shadow == iot.Classic {
			return key, "", "", false
		}
	}
	op = topic.Op(levels[2])
	switch {
	case len(levels) == 3 && (op == topic.Get || op == topic.Update || op == topic.Delete):
		return key, op, "", true
	case len(levels) == 4 && op == want && levels[3] != "":
		return key, op, levels[3], true
	}
	return key, "", "", false
}
