package release

// BuilderVersion is raised when the same source would become another digest.
const BuilderVersion = 1
