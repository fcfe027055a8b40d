// Exerciser
