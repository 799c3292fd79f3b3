package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidehold/tidehold/gateway/config/value"
)

// quiet is an environment in which nothing is set.
func quiet() Options {
	return Options{Environ: []string{"HOME=/root"}, Hostname: "pi"}
}

// errorsOf gives the errors of a list, as text.
func errorsOf(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		if p.Severity == SeverityError {
			b.WriteString(p.String() + "\n")
		}
	}
	return b.String()
}

// load reads a text that must have no errors.
func load(t *testing.T, text string) *Config {
	t.Helper()
	cfg, problems := LoadBytes("test.yaml", []byte(text), quiet())
	if bad := errorsOf(problems); bad != "" {
		t.Fatalf("load:\n%s\n%s", text, bad)
	}
	return cfg
}

const smallest = "version: 1\ngateway: {id: gw}\n"

func TestLoad_EveryExampleHasNoErrors(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, file := range files {
		opt := quiet()
		if filepath.Base(file) != "parts.yaml" { // which cmd/tidehold loads with its drivers
			opt.Parts = oneDriver{}
		}
		cfg, problems := Load(file, opt)
		for _, p := range problems {
			if p.Severity == SeverityError || !strings.Contains(p.Message, "does not exist on this host") {
				t.Error(p)
			}
		}
		if _, err := json.Marshal(cfg); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// The example shows the whole product: what it says must arrive.
func TestLoad_ExampleArrivesWhole(t *testing.T) {
	opt := quiet()
	opt.Parts = oneDriver{}
	cfg, problems := Load("../../configs/example.yaml", opt)
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	climate, button, fan := cfg.Sensors[0], cfg.Inputs[0], cfg.Outputs[0]
	cloud, plant := cfg.Uplinks[0], cfg.Uplinks[1]
	for name, pair := range map[string][2]any{
		"region":          {cfg.Gateway.AWS.Region, "eu-west-1"},
		"labels":          {cfg.Gateway.Labels, map[string]string{"site": "graz", "hall": "a"}},
		"binds":           {cfg.MQTT.Listeners[0].Binds, []value.Bind{"127.0.0.1:1883"}},
		"sim upstream":    {cfg.Gateway.AllowSimUpstream, true},
		"address":         {climate.Address, []uint16{0x76}},
		"poll":            {climate.Poll, time.Second},
		"unit":            {string(*climate.Readings["temperature"].Unit), "°C"},
		"filters":         {climate.Readings["temperature"].Filters, []any{map[string]any{"delta": 0.1}, map[string]any{"heartbeat": "30s"}}},
		"range":           {*climate.Readings["temperature"].Range.Min, -40.0},
		"thing":           {string(climate.Thing), "climate-1"},
		"key":             {climate.Key, "."},
		"shadow every":    {climate.ShadowEvery, 2 * time.Second},
		"telemetry":       {climate.Telemetry.Topic, "dt/climate-1/reading"},
		"signal":          {climate.Simulate["humidity"], any(map[string]any{"ramp": map[string]any{"from": 40, "to": 60, "period": "10m"}})},
		"pin":             {*button.Pin, any(*fan.Pin)},
		"edge":            {button.Edge, "falling"},
		"toggle":          {button.Simulate["toggle"], any("20s")},
		"fan max":         {fan.MaxOn, 30 * time.Minute},
		"writable":        {cfg.Things[2].Writable, []string{"on"}},
		"writable all":    {cfg.Things[1].Writable == nil, true},
		"rule":            {cfg.Rules[0].AWSIoTSQLVersion, "2016-03-23"},
		"action":          {string(cfg.Rules[0].Actions[0]), `{"edge.shadow":{"thingName":"fan-1","section":"desired"}}`},
		"error action":    {string(cfg.Rules[0].ErrorAction), `{"republish":{"topic":"errors/fan_on_when_hot","qos":1}}`},
		"store":           {cfg.Telemetry.Store, Store{256 * mib, 200 * mib, 1 << 30}},
		"debug ttl":       {cfg.Telemetry.Classes[1].TTL, 72 * time.Hour},
		"debug fold":      {cfg.Telemetry.Classes[1].Fold, true},
		"critical":        {cfg.Telemetry.Classes[0].Overflow, OverflowDropOldest},
		"cloud endpoint":  {cloud.Endpoint, Endpoint{"tls", "xxxxxxxx-ats.iot.eu-west-1.amazonaws.com", 443, true, false, "x-amzn-mqtt-ca"}},
		"cloud drain":     {cloud.Drain, Drain{100, 512 * kib, 100, 0.5, time.Minute}},
		"cloud reconnect": {cloud.ReconnectMax, 128 * time.Second},
		"cloud status":    {cloud.Status, ""},
		"cloud key":       {cloud.Key.Source(), value.Credential},
		"cloud mode":      {cloud.Shadows.Mode, ModeService},
		"override": {cloud.Shadows.Overrides[0], SyncOverride{[]string{"climate-1"}, []string{"*"},
			SyncPolicy{DirectionUp, CloudWins, LocalWins, UpdateWins, 200 * time.Millisecond}}},
		"batch":          {cloud.Telemetry[0].BatchEvery, 5 * time.Second},
		"plant endpoint": {plant.Endpoint, Endpoint{Scheme: "tls", Host: "broker.plant.lan", Port: 8883, TLS: true}},
		"plant password": {plant.Password.Path(), filepath.Join(cfg.Folder, "plant.pass")},
		"plant required": {plant.Required, false},
		"plant drain":    {plant.Drain, Drain{500, 0, 20, 0.5, 30 * time.Second}},
		"plant mode":     {plant.Shadows.Mode, ModePlain},
		"plant root":     {plant.Shadows.Root, "shadow/pi-workshop-1"},
		"plant status":   {plant.Status, "shadow/pi-workshop-1/status"},
		"plant command":  {string(plant.Commands[0].From), "gw/pi-workshop-1/cmd/#"},
	} {
		if name == "pin" {
			pair = [2]any{button.Pin.String() + " " + fan.Pin.String(), "board/17 board/27"}
		}
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: got %#v, want %#v", name, pair[0], pair[1])
		}
	}
}

func TestLoad_MissingFileIsOneProblem(t *testing.T) {
	cfg, problems := Load(filepath.Join(t.TempDir(), "none.yaml"), quiet())
	if cfg == nil || len(problems) != 1 || !strings.Contains(problems[0].Message, "no such file") {
		t.Errorf("got %v, %v", cfg, problems)
	}
}

func TestLoad_HugeFileIsRefused(t *testing.T) {
	_, problems := LoadBytes("huge.yaml", make([]byte, FileBytesMax+1), quiet())
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "larger") {
		t.Errorf("got %v", problems)
	}
}

func TestProblem_JSONMembersAreThoseOfTheContract(t *testing.T) {
	p := Problem{Severity: SeverityError, File: "tidehold.yaml", Line: 14, Column: 3, Key: "sensors[a].adress", Message: `unknown key "adress"`, Hint: `did you mean "address"?`}
	text, err := json.Marshal(p)
	want := `{"severity":"error","file":"tidehold.yaml","line":14,"column":3,"key":"sensors[a].adress","message":"unknown key \"adress\"","hint":"did you mean \"address\"?"}`
	if err != nil || string(text) != want {
		t.Errorf("got %s, %v", text, err)
	}
	if got, want := p.String(), `tidehold.yaml:14:3: error: sensors[a].adress: unknown key "adress" (did you mean "address"?)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// writeFiles makes a folder of files.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoad_DropInsAreMergedByName(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"tidehold.yaml":      smallest + "log: {level: warn}\nthings: [{name: a, type: x}, {name: b}]\nbuses: [{name: board, type: sim}]\n",
		"conf.d/10.yaml":     "log: {format: json}\nthings: [{name: b, type: y}, {name: c}]\nshadow: {max_depth: 6}\n",
		"conf.d/20.yaml":     "shadow: {max_depth: 7}\nmqtt: {listeners: []}\n",
		"conf.d/ignored.yml": "nonsense: 1\n",
		"conf.d/.hidden":     "nonsense: 1\n",
	})
	cfg, problems := Load(filepath.Join(dir, "tidehold.yaml"), quiet())
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	if cfg.Log != (Log{"warn", "json"}) || cfg.Shadow.MaxDepth != 7 || len(cfg.MQTT.Listeners) != 0 {
		t.Errorf("got %+v, depth %d, %d listeners", cfg.Log, cfg.Shadow.MaxDepth, len(cfg.MQTT.Listeners))
	}
	var things []string
	for _, th := range cfg.Things {
		things = append(things, string(th.Name)+":"+th.Type)
	}
	if want := []string{"a:x", "b:y", "c:"}; !slices.Equal(things, want) {
		t.Errorf("things: got %v, want %v", things, want)
	}
}

func TestLoad_ProblemsOfDropInsNameTheirFile(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"tidehold.yaml":  smallest + "nope: 1\n",
		"conf.d/a.yaml":  "log: {levle: warn}\n",
		"conf.d/b.yaml":  "things:\n  - {name: x}\n  - {name: x}\n",
		"conf.d/bad.yml": "",
	})
	_, problems := Load(filepath.Join(dir, "tidehold.yaml"), quiet())
	var got []string
	for _, p := range problems {
		got = append(got, strings.TrimPrefix(p.String(), dir+"/"))
	}
	want := []string{"tidehold.yaml:3:1: error: nope: ", "conf.d/a.yaml:1:7: error: log.levle: ", "conf.d/b.yaml:3:12: error: things[1].name: "}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

func TestLoad_EnvironmentOverridesKeys(t *testing.T) {
	opt := quiet()
	opt.Environ = append(opt.Environ, "TIDEHOLD__MQTT__LIMITS__PRESET=aws", "TIDEHOLD__GATEWAY__ID=other",
		"TIDEHOLD__UPLINKS__CLOUD_1__ENABLED=off", "TIDEHOLD__UPLINKS__0__PORT=9000", "TIDEHOLD__TLS__SERVER__NAMES=[a.local, b.local]",
		"TIDEHOLD_SOCKET=/x", "TIDEHOLD__RULES__R__RULEDISABLED=true")
	cfg, problems := LoadBytes("t.yaml", []byte(smallest+`
uplinks: [{name: cloud-1, endpoint: h}]
rules: [{name: r, sql: "SELECT * FROM 'a'", ruleDisabled: false, actions: [{republish: {topic: b}}]}]
`), opt)
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	up := cfg.Uplinks[0]
	if cfg.MQTT.Limits.MaxQoS != 1 || cfg.Gateway.ID != "other" || up.Enabled || up.Endpoint.Port != 9000 || up.ClientID != "other" || !cfg.Rules[0].Disabled {
		t.Errorf("got %+v", cfg)
	}
	if !slices.Equal(cfg.TLS.Server.Names, []string{"a.local", "b.local"}) {
		t.Errorf("names: got %v", cfg.TLS.Server.Names)
	}
}

func TestLoad_BadVariablesAreProblems(t *testing.T) {
	opt := quiet()
	opt.Environ = []string{"TIDEHOLD__LOG__LEVLE=warn", "TIDEHOLD__UPLINKS__X__ENABLED=off", "TIDEHOLD__A____B=1", "TIDEHOLD__TLS={a"}
	_, problems := LoadBytes("t.yaml", []byte(smallest+"uplinks: []\n"), opt)
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	for _, want := range []string{"env:TIDEHOLD__LOG__LEVLE:1:1: error: log.levle: unknown key", `env:TIDEHOLD__UPLINKS__X__ENABLED:1:1: error: no entry "x"`,
		"env:TIDEHOLD__A____B:1:1: error: a part of the path is empty", "env:TIDEHOLD__TLS:1:1: error: not readable"} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

func TestLoad_SameInputGivesSameProblems(t *testing.T) {
	text, err := os.ReadFile("testdata/bad/uplinks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, first := LoadBytes("x", text, quiet())
	for range 20 {
		if _, again := LoadBytes("x", text, quiet()); !reflect.DeepEqual(first, again) {
			t.Fatalf("got %v, then %v", first, again)
		}
	}
}

func TestLoad_SimulatedReadingsGoUpOnlyWhileEverythingIsSimulated(t *testing.T) {
	const parts = "buses: [{name: board, type: sim}]\ninputs: [{name: i, pin: {chip: board, line: 1}}]\n"
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"no parts":        {"", true},
		"all simulated":   {parts, true},
		"a real line":     {parts + "outputs: [{name: o, pin: {line: GPIO4}}]\n", false},
		"a real bus":      {"buses: [{name: b, type: i2c}]\n", false},
		"a real encoder":  {"inputs: [{name: i, encoder: {a: {line: 1}, b: {line: 2}}}]\n", false},
		"written on":      {"gateway: {id: gw, allow_sim_upstream: on}\nbuses: [{name: b, type: i2c}]\n", true},
		"written off":     {"gateway: {id: gw, allow_sim_upstream: off}\n", false},
		"auto is default": {"gateway: {id: gw, allow_sim_upstream: auto}\n", true},
	} {
		text := "version: 1\n"
		if !strings.Contains(c.text, "gateway") {
			text = smallest
		}
		if got := load(t, text+c.text).Gateway.AllowSimUpstream; got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestLoad_PresetsAndWrittenRates(t *testing.T) {
	for text, want := range map[string]Limits{
		"limits: aws":                       {Preset: "aws", MaxQoS: 1, PublishRate: 100, PublishBytes: 512 * kib, RateOnLoopback: true, MaxPayload: 128 * kib},
		"limits: none":                      {Preset: "none", MaxQoS: 2, MaxPayload: 16 * mib},
		"limits: {publish_rate: 10/s}":      {Preset: "edge", MaxQoS: 2, PublishRate: 10, PublishBytes: 4 * mib, RateOnLoopback: true, MaxPayload: 128 * kib},
		"limits: {preset: aws, max_qos: 2}": {Preset: "aws", MaxQoS: 2, PublishRate: 100, PublishBytes: 512 * kib, RateOnLoopback: true, MaxPayload: 128 * kib},
	} {
		l := load(t, smallest+"mqtt: {"+text+"}\n").MQTT.Limits
		got := Limits{Preset: l.Preset, MaxQoS: l.MaxQoS, PublishRate: l.PublishRate, PublishBytes: l.PublishBytes, RateOnLoopback: l.RateOnLoopback, MaxPayload: l.MaxPayload}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

func TestLoad_EndpointMayBeTheNodesOfACluster(t *testing.T) {
	u := load(t, smallest+"uplinks: [{name: u, endpoint: [tcp://a, \"tcp://b:2\", tcp://c], port: 2}]\n").Uplinks[0]
	want := []Endpoint{{Scheme: "tcp", Host: "a", Port: 2}, {Scheme: "tcp", Host: "b", Port: 2}, {Scheme: "tcp", Host: "c", Port: 2}}
	if got := append([]Endpoint{u.Endpoint}, u.Others...); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLoad_EndpointForms(t *testing.T) {
	for text, want := range map[string]Endpoint{
		"h.example":           {Scheme: "tls", Host: "h.example", Port: 8883, TLS: true},
		"h.example:1":         {Scheme: "tls", Host: "h.example", Port: 1, TLS: true},
		"tcp://h":             {Scheme: "tcp", Host: "h", Port: 1883},
		"tls://10.0.0.1":      {Scheme: "tls", Host: "10.0.0.1", Port: 8883, TLS: true},
		"ws://h":              {Scheme: "ws", Host: "h", Port: 80, WebSocket: true},
		"wss://h/mqtt":        {Scheme: "wss", Host: "h", Port: 443, TLS: true, WebSocket: true},
		"tcp://[::1]:1884":    {Scheme: "tcp", Host: "::1", Port: 1884},
		"tcp://[fe80::1]":     {Scheme: "tcp", Host: "fe80::1", Port: 1883},
		"tls://h.example:443": {Scheme: "tls", Host: "h.example", Port: 443, TLS: true},
	} {
		got := load(t, smallest+"uplinks: [{name: u, endpoint: \""+text+"\"}]\n").Uplinks[0].Endpoint
		if got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

func TestLoad_TelemetryDrainOverridesEveryProfile(t *testing.T) {
	cfg := load(t, smallest+`
telemetry: {drain: {rate: 7/s, start_jitter: 0s, live_reserve: 25%}}
uplinks:
  - {name: a, endpoint: h, profile: tidehold}
  - {name: b, endpoint: h, profile: mosquitto, drain: {rate: 9/s, bytes: 1KiB/s, inflight: 3}}
`)
	if got, want := cfg.Uplinks[0].Drain, (Drain{7, 0, 0, 0.25, 0}); got != want {
		t.Errorf("a: got %+v, want %+v", got, want)
	}
	if got, want := cfg.Uplinks[1].Drain, (Drain{9, kib, 3, 0.25, 0}); got != want {
		t.Errorf("b: got %+v, want %+v", got, want)
	}
}

func TestLoad_PolicyDocumentsAreCanonicalJSON(t *testing.T) {
	cfg := load(t, smallest+`
security:
  policies:
    - name: yaml
      document:
        Version: 2012-10-17
        Statement: [{Effect: Allow, Action: "iot:*", Resource: "*"}]
    - name: local-default
      document: '{ "Version" : "2012-10-17", "Statement": [] }'
`)
	want := []Policy{
		{DeviceDefault, DeviceDefaultDocument, true},
		{LocalDefault, `{"Version":"2012-10-17","Statement":[]}`, false},
		{"yaml", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`, false},
	}
	if !reflect.DeepEqual(cfg.Security.Policies, want) {
		t.Errorf("got %+v", cfg.Security.Policies)
	}
}

func TestLoad_TooManyThingsForTheSubscriptionsOfAWS(t *testing.T) {
	text := smallest + "things:\n"
	for i := range 60 {
		text += "  - {name: t" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + "}\n"
	}
	text += "uplinks: [{name: u, endpoint: h, profile: aws-iot-core, username: x, shadows: {}}]\n"
	_, problems := LoadBytes("x", []byte(text), quiet())
	if bad := errorsOf(problems); !strings.Contains(bad, "needs at least 61 subscriptions; aws-iot-core allows 50") {
		t.Errorf("got %s", bad)
	}
}

func TestStore_AutoFollowsTheFileSystem(t *testing.T) {
	auto := load(t, smallest).Telemetry.Store
	if got, want := auto.On(1<<30), (Store{(1 << 30) / 10, 200 * mib, 1 << 30}); got != want {
		t.Errorf("small disk: got %+v, want %+v", got, want)
	}
	if got, want := auto.On(100<<30), (Store{256 * mib, 5 << 30, 1 << 30}); got != want {
		t.Errorf("large disk: got %+v, want %+v", got, want)
	}
}

func TestConfig_PrintsNoSecret(t *testing.T) {
	cfg := load(t, smallest+"uplinks: [{name: u, endpoint: h, username: x, password: hunter2}]\n")
	text, err := json.Marshal(cfg)
	if err != nil || strings.Contains(string(text), "hunter2") {
		t.Errorf("got %s, %v", text, err)
	}
	if plain, err := cfg.Uplinks[0].Password.Resolve(); err != nil || string(plain) != "hunter2" {
		t.Errorf("resolve: %q, %v", plain, err)
	}
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "../../configs/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	opt := quiet()
	opt.Parts = oneDriver{}
	f.Fuzz(func(t *testing.T, text []byte) {
		start := time.Now()
		cfg, problems := LoadBytes("fuzz.yaml", text, opt)
		if took := time.Since(start); took > 5*time.Second {
			t.Fatalf("took %v", took)
		}
		if cfg == nil {
			t.Fatal("no config")
		}
		for _, p := range problems {
			if p.Line < 1 || p.Column < 1 || p.Message == "" {
				t.Fatalf("a problem without a place: %+v", p)
			}
		}
		if !HasErrors(problems) && cfg.Gateway.ID == "" {
			t.Fatal("a config without id has no errors")
		}
	})
}

func TestLoad_KeepAliveIsInWholeSecondsOfSixteenBits(t *testing.T) {
	for text, good := range map[string]bool{"60s": true, "0": true, "0s": true, "1500ms": false, "65535s": true, "65536s": false} {
		_, problems := LoadBytes("test.yaml", []byte(smallest+"mqtt: {max_keep_alive: "+text+"}\n"), quiet())
		if bad := errorsOf(problems); (bad == "") != good {
			t.Errorf("max_keep_alive %s: %q", text, bad)
		}
	}
}

// security.md 1.6: connack_code 7 restores AWS's code.
func TestLoad_CodesOfDenialsAreOneOfTwo(t *testing.T) {
	cfg := load(t, smallest+"security: {connack_code: 7, suback_code: 128}\n")
	if cfg.Security.ConnackCode != 7 || cfg.Security.SubackCode != 128 {
		t.Errorf("got %d and %d", cfg.Security.ConnackCode, cfg.Security.SubackCode)
	}
	_, problems := LoadBytes("test.yaml", []byte(smallest+"security: {connack_code: 6}\n"), quiet())
	if errorsOf(problems) == "" {
		t.Error("connack_code 6 was taken")
	}
}

// The table at the end of contract section 5, and each figure written over it.
func TestLoad_EveryFigureOfThePresets(t *testing.T) {
	for text, want := range map[string]Limits{
		"edge": {PresetEdge, 128 * kib, 8, 256, 50, 8, 2, 1000, 4 * mib, false, 100, Auto, 5 * time.Second, 5000, 16 * mib},
		"aws":  {PresetAWS, 128 * kib, 8, 256, 50, 8, 1, 100, 512 * kib, true, 100, Auto, 5 * time.Second, 5000, 16 * mib},
		"none": {PresetNone, 16 * mib, 0, 65535, 0, 0, 2, 0, 0, false, 1000, Auto, 5 * time.Second, 5000, 16 * mib},
		`{preset: aws, max_payload: 1KiB, max_topic_levels: 3, max_topic_bytes: 4, max_subscriptions_per_client: 5,
		  max_filters_per_subscribe: 6, max_qos: 0, publish_rate: 7/s, publish_bytes: 8KiB/s, max_inflight: 9,
		  max_connections: 10, connect_timeout: 11s, max_retained: 12, max_retained_bytes: 13KiB}`: {
			PresetAWS, kib, 3, 4, 5, 6, 0, 7, 8 * kib, true, 9, 10, 11 * time.Second, 12, 13 * kib},
	} {
		if got := load(t, smallest+"mqtt: {limits: "+text+"}\n").MQTT.Limits; got != want {
			t.Errorf("%s: got\n%+v, want\n%+v", text, got, want)
		}
	}
}
