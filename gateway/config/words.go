package config

// The words of the file that other rooms ask for. Those of buses and parts
// belong to package drivers.
const (
	DurabilityFull   = "full"
	DurabilityNormal = "normal"

	PresetEdge = "edge"
	PresetAWS  = "aws"
	PresetNone = "none"

	WhenFullDropNewest = "drop-newest"
	WhenFullDropOldest = "drop-oldest"

	AuthLoopback    = "loopback"
	AuthCertificate = "certificate"
	AuthPassword    = "password"
	AuthSigV4       = "sigv4"

	ProtocolMQTT = "mqtt"
	ProtocolWS   = "ws"
	ProtocolAuto = "auto"

	OnDeniedAWS     = "aws"
	OnDeniedLenient = "lenient"

	ProfileStrict   = "strict" // of telemetry
	ProfileBalanced = "balanced"
	ProfileSaver    = "saver"

	OrderLiveFirst   = "live-first"
	OrderFIFO        = "fifo"
	OrderNewestFirst = "newest-first"

	OverflowFold       = "fold-then-drop-oldest"
	OverflowDropOldest = "drop-oldest"
	OverflowDropNewest = "drop-newest"
	OverflowReject     = "reject"

	ModeService = "service"
	ModePlain   = "plain"

	DirectionBoth = "both"
	DirectionUp   = "up"
	DirectionDown = "down"

	CloudWins = "cloudWins"
	LocalWins = "localWins"
	Latest    = "latest"

	UpdateWins = "updateWins"
	DeleteWins = "deleteWins"

	FormAuto   = "auto"
	FormRaw    = "raw"
	FormInject = "inject"
	FormNative = "native"

	busSim = "sim"
)
