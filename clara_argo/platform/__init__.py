"""What installs, builds and starts other systems for us: clusters, images."""
