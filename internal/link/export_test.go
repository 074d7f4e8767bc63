package link

// ReadFrame is read, for the fuzz test.
var ReadFrame = read
