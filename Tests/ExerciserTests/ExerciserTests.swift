// ExerciserTests
