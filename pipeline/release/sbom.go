package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path"
	"runtime/debug"
	"sort"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// sbom lists what is in the binary, as CycloneDX JSON. It is read from the
// binary's own build information, so it names what was linked and not what
// go.mod asked for. It is part of the image: the same binary must give the same
// bytes, so there is no time in it, and the serial number is a hash.
func sbom(app string, info *debug.BuildInfo, binary []byte) ([]byte, error) {
	sum := sha256.Sum256(binary)
	main := cdx.Component{
		BOMRef: "app",
		Type:   cdx.ComponentTypeApplication,
		Name:   app,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
	}
	properties := []cdx.Property{{Name: "go:package", Value: info.Path}, {Name: "go:module", Value: info.Main.Path}}
	for _, s := range info.Settings {
		properties = append(properties, cdx.Property{Name: "go:build:" + s.Key, Value: s.Value})
	}
	main.Properties = &properties

	version := strings.TrimPrefix(info.GoVersion, "go")
	std := packageURL("stdlib", version)
	components := []cdx.Component{{BOMRef: std, Type: cdx.ComponentTypeLibrary, Name: "stdlib", Version: version, PackageURL: std}}
	for _, m := range info.Deps {
		components = append(components, module(m))
	}
	sort.Slice(components, func(i, j int) bool { return components[i].BOMRef < components[j].BOMRef })
	var refs []string
	for _, c := range components {
		refs = append(refs, c.BOMRef)
	}

	bom := cdx.NewBOM()
	bom.SpecVersion = cdx.SpecVersion1_6 // pinned: a newer library must not change the digest of a release
	bom.JSONSchema = "http://cyclonedx.org/schema/bom-1.6.schema.json"
	bom.Metadata = &cdx.Metadata{Component: &main}
	bom.Components = &components
	// The build information is flat: which module needs which is not in it.
	bom.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}

	unnamed, err := encode(bom)
	if err != nil {
		return nil, err
	}
	bom.SerialNumber = uuid.NewHash(sha256.New(), uuid.NameSpaceURL, unnamed, 8).URN()
	return encode(bom)
}

// module is the component of one module. A replaced one is what replaced it,
// since that is the code in the binary.
func module(m *debug.Module) cdx.Component {
	var properties []cdx.Property
	if m.Replace != nil {
		properties = append(properties, cdx.Property{Name: "go:replaces", Value: strings.TrimSuffix(m.Path+"@"+m.Version, "@")})
		if r := m.Replace; strings.HasPrefix(r.Path, ".") || path.IsAbs(r.Path) {
			// A folder of the repository: there the module has no version of its own.
			properties = append(properties, cdx.Property{Name: "go:folder", Value: r.Path})
			m = &debug.Module{Path: m.Path}
		} else {
			m = r
		}
	}
	if m.Sum != "" {
		properties = append(properties, cdx.Property{Name: "go:sum", Value: m.Sum})
	}
	purl := packageURL(m.Path, m.Version)
	c := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl}
	if len(properties) > 0 {
		c.Properties = &properties
	}
	return c
}

// packageURL follows the golang type of the purl specification, which wants
// lower case.
func packageURL(module, version string) string {
	parts := strings.Split(strings.ToLower(module), "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	purl := "pkg:golang/" + strings.Join(parts, "/")
	if version != "" {
		purl += "@" + strings.ReplaceAll(url.PathEscape(version), "+", "%2B")
	}
	return purl
}

func encode(bom *cdx.BOM) ([]byte, error) {
	var b bytes.Buffer
	if err := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).Encode(bom); err != nil {
		return nil, fmt.Errorf("write the SBOM: %w", err)
	}
	return b.Bytes(), nil
}
